"""What both clients make of arguments about alerts."""

from hookline.sync.v1.alert_service_pb2 import CreateAlertChannelRequest


def create_channel(company: str, channel: str, webhook_url: str, email: str) -> CreateAlertChannelRequest:
    """The request for a new channel. One that was not given is not set: the server says what is missing."""
    request = CreateAlertChannelRequest(company_id=company, channel=channel)
    if webhook_url:
        request.webhook_url = webhook_url
    elif email:
        request.email = email
    return request
