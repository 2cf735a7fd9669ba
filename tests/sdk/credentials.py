"""Prints the credentials that boto3's default chain finds, and where it found them."""

import json

import boto3

session = boto3.Session()
# A client for Bedrock, because that is what the credentials are for; making one resolves them.
session.client("bedrock-runtime")
credentials = session.get_credentials()
keys = credentials.get_frozen_credentials()
print(json.dumps([keys.access_key, keys.secret_key, keys.token, credentials.method]))
