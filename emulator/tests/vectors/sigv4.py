"""Makes sigv4.json: requests signed by botocore and an API key made by aws-bedrock-token-generator, all at one instant.

Run it with both installed (pip install botocore aws-bedrock-token-generator) and put its output beside it.
"""

import datetime
import json
import sys

import botocore
import botocore.auth
from aws_bedrock_token_generator import BedrockTokenGenerator
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 11, 12, 0, 0)
USER = Credentials("AKIDEXAMPLEEXAMPLE22", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = Credentials("ASIAEXAMPLEEXAMPLE22", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/with+signs==")


botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW

STS = "https://sts.us-east-1.amazonaws.com/"
RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON = {"content-type": "application/json", "accept": "application/json"}
WHO = "Action=GetCallerIdentity&Version=2011-06-15"
PROFILE = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc"


def signed(label, credentials, service, method, url, headers, body, query=False):
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    kind = SigV4QueryAuth if query else SigV4Auth
    kind(credentials, service, "us-east-1").add_auth(request)
    prepared = request.prepare()
    host, _, target = prepared.url.removeprefix("https://").partition("/")
    path, _, query_text = target.partition("?")
    headers = {name.lower(): value if isinstance(value, str) else value.decode() for name, value in prepared.headers.items()}
    headers["host"] = host
    return {
        "label": label,
        "service": service,
        "access_key_id": credentials.access_key,
        "method": method,
        "path": "/" + path,
        "query": query_text,
        "headers": headers,
        "body": body or "",
    }


vectors = [
    signed("a user asks STS", USER, "sts", "POST", STS, FORM, WHO),
    signed("a session asks STS", SESSION, "sts", "POST", STS, FORM, WHO),
    signed("a presigned question to STS", SESSION, "sts", "GET", STS + "?" + WHO, {}, None, query=True),
    signed("a session lists models", SESSION, "bedrock", "GET",
           "https://bedrock.us-east-1.amazonaws.com/foundation-models?byProvider=Anthropic&byOutputModality=TEXT", {}, None),
    signed("a session names a model with a colon", SESSION, "bedrock", "POST",
           RUNTIME + "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke", JSON, '{"prompt":"hällo"}'),
    signed("a session names a model by its ARN", SESSION, "bedrock", "POST",
           RUNTIME + "/model/" + PROFILE + "/converse", JSON, "{}"),
]
key = BedrockTokenGenerator().get_token(SESSION, "us-east-1")
json.dump(
    {
        "made_by": f"botocore {botocore.__version__}",
        "at": "2026-03-11T12:00:00Z",
        "secret_access_key": USER.secret_key,
        "session_token": SESSION.token,
        "requests": vectors,
        "api_key": key,
    },
    sys.stdout,
    indent=1,
)
print()
