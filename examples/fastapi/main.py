"""A show of hands: FastAPI serves the page and the questions, Theater the hands while they go up.

Every question has an actor, which answers below `/live`. Over its WebSocket a client sends the option
that it raises its hand for, and everybody is sent the counts, as JSON, whenever one has changed.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from pydantic import BaseModel

from theater import (
    Accept,
    Actor,
    Closed,
    Connected,
    Connection,
    Event,
    Received,
    Request,
    Response,
    Text,
    UpgradeRequest,
    asgi,
)

PAGE = Path(__file__).with_name("index.html")
NO_QUESTION = Response.text("There is no such question.\n", 404)


class Question(BaseModel):
    """What is asked, and what can be answered."""

    text: str
    options: list[str]


QUESTIONS = {
    "lunch": Question(text="What shall we have for lunch?", options=["Pizza", "Soup", "Leftovers"]),
    "spelling": Question(text="How is it spelled?", options=["Theater", "Theatre"]),
}


class Hands(Actor):
    """Counts the hands for one question. Each connection has one, kept as its attachment."""

    def init(self) -> None:
        question = QUESTIONS.get(self.address.key)
        self.options = question.options if question else []

    def upgrade_connection(self, request: UpgradeRequest) -> Accept | Response:
        return Accept() if self.options else NO_QUESTION

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Connected():
                return self.counts()
            case Received(Text(option)) if option in self.options:
                connection.attachment = option
                self.broadcast(self.counts())
            case Closed():
                self.broadcast(self.counts())
        return None

    def counts(self) -> Text:
        hands = Counter(connection.attachment for connection in self.connections.values())
        return Text(json.dumps({option: hands[option] for option in self.options}))

    def handle_request(self, request: Request) -> Response:
        if not self.options:
            return NO_QUESTION
        return Response(200, {"content-type": "application/json"}, self.counts().text)


live = asgi(Hands, path="/{question}", instance="{question}")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await live.stop()  # a mounted application is not told by itself


app = FastAPI(title="Show of hands", lifespan=lifespan)
app.mount("/live", live)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(PAGE)


@app.get("/api/questions")
async def questions() -> dict[str, Question]:
    """All questions."""
    return QUESTIONS


@app.get("/api/questions/{name}")
async def question(name: str) -> Question:
    """One question."""
    if name not in QUESTIONS:
        raise HTTPException(404, "There is no such question.")
    return QUESTIONS[name]
