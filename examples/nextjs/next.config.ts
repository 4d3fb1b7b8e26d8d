import type { NextConfig } from "next";

const config: NextConfig = {
  // This folder is the project, whatever lock files there are above it.
  turbopack: { root: import.meta.dirname },
  devIndicators: false,
  poweredByHeader: false,
};

export default config;
