"""Says who boto3 is by STS, and what comes of its calls there."""

import datetime
import json

import boto3

sts = boto3.client("sts")
OTHER = "arn:aws:iam::111122223333:role/path/Reader"


def get_caller_identity():
    return sts.get_caller_identity()["Arn"]


def assume_role():
    answer = sts.assume_role(
        RoleArn=OTHER,
        RoleSessionName="chained",
        DurationSeconds=900,
        ExternalId="partner:7",
        Policy=json.dumps({"Version": "2012-10-17", "Statement": []}),
        PolicyArns=[{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}],
        Tags=[{"Key": "team & co", "Value": "röd"}],
        TransitiveTagKeys=["team & co"],
    )
    keys = answer["Credentials"]
    chained = boto3.client(
        "sts",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    assert chained.get_caller_identity()["Arn"] == answer["AssumedRoleUser"]["Arn"]
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{answer['AssumedRoleUser']['Arn']} {answer['PackedPolicySize'] > 0} {keys['Expiration'] > now}"


def chain_for_too_long():
    return sts.assume_role(RoleArn=OTHER, RoleSessionName="chained", DurationSeconds=3601)["AssumedRoleUser"]["Arn"]


def get_session_token():
    return sts.get_session_token()["Credentials"]["AccessKeyId"][:4]


def attempt(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


calls = [get_caller_identity, assume_role, chain_for_too_long, get_session_token]
print(json.dumps({call.__name__: attempt(call) for call in calls}))
