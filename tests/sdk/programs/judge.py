"""Says what botocore and aws-bedrock-token-generator make of the questions on standard input."""

import datetime
import json
import sys

import botocore.auth
from aws_bedrock_token_generator import _generate_token
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.session import get_session

SERVICES = ["rolesanywhere", "sts", "bedrock", "bedrock-runtime"]


def hosts(_):
    """The host of each service in each Region, for each variant: none where there is none."""
    loader = get_session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    regions = [name for partition in partitions["partitions"] for name in partition["regions"]]
    # Regions are opened while programs run: these are none, yet.
    regions += ["us-north-9", "cn-south-9", "us-gov-north-9", "us-iso-north-9", "eusc-de-north-9"]
    found = []
    for service in SERVICES:
        rules = loader.load_service_model(service, "endpoint-rule-set-1")
        provider = EndpointProvider(rules, partitions)
        for region in regions:
            if region.endswith("-global"):
                continue
            for fips in (False, True):
                for dual_stack in (False, True):
                    asked = {"Region": region, "UseFIPS": fips, "UseDualStack": dual_stack}
                    if service == "sts":
                        asked["UseGlobalEndpoint"] = False
                    try:
                        host = provider.resolve_endpoint(**asked).url.removeprefix("https://")
                    except EndpointProviderError:
                        host = None
                    found.append({"service": service, "region": region, "fips": fips, "dual_stack": dual_stack, "host": host})
    return found


def freeze(question):
    now = datetime.datetime.fromtimestamp(question["at"], datetime.timezone.utc).replace(tzinfo=None)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now


def credentials(question):
    return Credentials(question["id"], question["secret"], question["token"])


def signed(question):
    """The Authorization header of a request."""
    freeze(question)
    headers = {"content-type": question["content_type"]}
    request = AWSRequest(method=question["method"], url=question["url"], headers=headers, data=question["body"])
    SigV4Auth(credentials(question), question["service"], question["region"]).add_auth(request)
    return request.headers["Authorization"]


def api_key(question):
    freeze(question)
    return _generate_token(credentials(question), question["region"], question["seconds"])


questions = json.load(sys.stdin)
print(json.dumps([globals()[question["what"]](question) for question in questions]))
