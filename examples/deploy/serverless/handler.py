"""taskd on AWS Lambda, behind an HTTP API of the API Gateway or a function URL: the handler is `handler.handler`."""

from mangum import Mangum

from taskd import build_app

# Without a lifespan, connections to the database stay open from one event to the next.
handler = Mangum(build_app(), lifespan="off")
