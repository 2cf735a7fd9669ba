"""Prints, for each line read, the credentials that the default chain of the AWS Common Runtime holds at that moment."""

import json
import sys

import awscrt
from awscrt.auth import AwsCredentialsProvider
from awscrt.io import ClientBootstrap


def answer(**fields):
    print(json.dumps(fields), flush=True)


answer(version=awscrt.__version__)
provider = AwsCredentialsProvider.new_default_chain(ClientBootstrap.get_or_create_static_default())

for _ in sys.stdin:
    try:
        keys = provider.get_credentials().result()
        answer(id=keys.access_key_id, secret=keys.secret_access_key, token=keys.session_token)
    except Exception as error:
        answer(error=repr(error))
