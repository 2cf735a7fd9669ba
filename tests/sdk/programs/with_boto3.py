"""Prints, for each line read, the credentials that boto3's default chain holds at that moment."""

import json
import sys

import boto3


def answer(**fields):
    print(json.dumps(fields), flush=True)


answer(version=boto3.__version__)
session = boto3.Session()

for _ in sys.stdin:
    try:
        credentials = session.get_credentials()
        if credentials is None:
            answer(error="NoCredentialsError: Unable to locate credentials")
            continue
        keys = credentials.get_frozen_credentials()
        answer(id=keys.access_key, secret=keys.secret_key, token=keys.token)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
