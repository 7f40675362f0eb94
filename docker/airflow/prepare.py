"""The admin's password for Airflow's own login, and the bucket of the lake."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit


def write_password() -> None:
    """One user, `admin`; the api-server reads the file when it starts."""
    path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    path.touch(mode=0o600)
    path.write_text(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}), encoding="utf-8")


def make_bucket() -> None:
    """Make the bucket if it is missing; a lake that is not on S3 needs none."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    storage = urlsplit(os.environ["STORAGE_URL"])
    if storage.scheme != "s3":
        return
    client = boto3.client(
        "s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL") or None, config=Config(s3={"addressing_style": "path"})
    )
    try:
        client.head_bucket(Bucket=storage.netloc)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=storage.netloc)


if __name__ == "__main__":
    write_password()
    make_bucket()
