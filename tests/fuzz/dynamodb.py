"""A table of DynamoDB in this process's memory: as much of it as the backend asks for."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from torpor.storage.dynamodb.errors import driver

__all__ = ["Items", "TableInMemory"]

Items = dict[tuple[str, str], dict[str, Any]]


class TableInMemory:
    """A low-level client with one table. ``items`` may be changed behind the storage's back."""

    def __init__(self, items: Items | None = None) -> None:
        self.items: Items = copy.deepcopy(items or {})
        self.meta = SimpleNamespace(region_name="here", endpoint_url="memory")

    def describe_table(self, **_: Any) -> dict[str, Any]:
        """Tell what the table is like."""
        roles = {"pk": "HASH", "sk": "RANGE"}
        return {
            "Table": {
                "TableStatus": "ACTIVE",
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": "S"} for name in roles
                ],
                "KeySchema": [
                    {"AttributeName": name, "KeyType": role} for name, role in roles.items()
                ],
            }
        }

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto's
        """Return the items that exist."""
        [(table, request)] = RequestItems.items()
        keys = [_key(key) for key in request["Keys"]]
        found = [self.items[key] for key in keys if key in self.items]
        return {"Responses": {table: copy.deepcopy(found)}}

    def query(self, **request: Any) -> dict[str, Any]:
        """Return a page of a partition."""
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        sorts = sorted(sort for part, sort in self.items if part == values[":pk"])
        if ":first" in values:
            sorts = [sort for sort in sorts if values[":first"] <= sort <= values[":last"]]
        if ":prefix" in values:
            sorts = [sort for sort in sorts if sort.startswith(values[":prefix"])]
        if not request["ScanIndexForward"]:
            sorts.reverse()
        if "ExclusiveStartKey" in request:
            after, ascends = request["ExclusiveStartKey"]["sk"]["S"], request["ScanIndexForward"]
            sorts = [sort for sort in sorts if (sort > after if ascends else sort < after)]
        page = sorts[: request.get("Limit", 3)]
        answer: dict[str, Any] = {
            "Items": [copy.deepcopy(self.items[values[":pk"], sort]) for sort in page]
        }
        if len(page) < len(sorts):
            answer["LastEvaluatedKey"] = {"pk": {"S": values[":pk"]}, "sk": {"S": page[-1]}}
        return answer

    def put_item(self, Item: dict[str, Any], **request: Any) -> dict[str, Any]:  # noqa: N803
        """Put an item, if its condition is met."""
        self._require(_key(Item), request, "PutItem")
        self.items[_key(Item)] = copy.deepcopy(Item)
        return {}

    def delete_item(self, Key: dict[str, Any], **request: Any) -> dict[str, Any]:  # noqa: N803
        """Delete an item, if its condition is met."""
        self._require(_key(Key), request, "DeleteItem")
        self.items.pop(_key(Key), None)
        return {}

    def batch_write_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Put and delete items."""
        [requests] = RequestItems.values()
        for request in requests:
            if "PutRequest" in request:
                item = request["PutRequest"]["Item"]
                self.items[_key(item)] = copy.deepcopy(item)
            else:
                self.items.pop(_key(request["DeleteRequest"]["Key"]), None)
        return {}

    def _require(self, key: tuple[str, str], request: dict[str, Any], operation: str) -> None:
        found = self.items.get(key)
        names = request.get("ExpressionAttributeNames")
        if names is None:
            met = found is None
        else:
            wanted = request["ExpressionAttributeValues"][":value"]
            met = found is not None and found.get(names["#name"]) == wanted
        if not met:
            error: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}
            raise driver("botocore.exceptions").ClientError(error, operation)


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]
