/* Makes a fast disk as slow as another: each fsync and fdatasync takes SYNC_MS milliseconds longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int delayed(const char *name, int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *ms = getenv("SYNC_MS");
    usleep((useconds_t)((ms ? atof(ms) : 0) * 1000));
    return sync(fd);
}

int fsync(int fd) { return delayed("fsync", fd); }
int fdatasync(int fd) { return delayed("fdatasync", fd); }
