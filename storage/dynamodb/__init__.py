"""Checkpoints and threads in one DynamoDB table, by boto3."""

from __future__ import annotations

from torpor.storage.dynamodb.storage import DynamoDBStorage

__all__ = ["DynamoDBStorage"]
