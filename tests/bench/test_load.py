"""The load generator: requests that the service understands, and answers that it judges rightly."""

from __future__ import annotations

import pytest
from tamiyo_leyline import EpochReport
from tamiyo_service.api.schemas import BatchRequest

from bench.load import (
    BATCH,
    SHORT_RUN,
    batches,
    is_complete,
    is_good,
    predictions,
    report_of,
    short,
    single,
)

ANSWER = bytearray(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
CHUNKED = bytearray(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")


def body_of(request: bytes) -> bytes:
    """The body, whose length the head tells."""
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    return body


def test_single_report_is_a_report() -> None:
    request = single("run").request(7)
    assert request.startswith(b"POST /runs/run/epoch HTTP/1.1\r\n")
    assert EpochReport.model_validate_json(body_of(request)).epoch == 7


def test_others_get_the_same_body() -> None:
    assert (
        body_of(predictions("run").request(7)) == body_of(single("run").request(7)) == report_of(7).encode()
    )


def test_batch_reports_as_many_runs_as_it_counts_decisions() -> None:
    load = batches("run")
    batch = BatchRequest.model_validate_json(body_of(load.request(3)))
    assert len({item.run_id for item in batch.reports}) == load.decisions == BATCH


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_answer_is_complete_with_its_last_byte(answer: bytearray) -> None:
    assert is_complete(answer)
    assert not any(is_complete(answer[:length]) for length in range(len(answer)))


def test_refusal_is_not_good() -> None:
    assert is_good(ANSWER, 1)
    assert not is_good(bytearray(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), 1)


def test_batch_with_a_refused_report_is_not_good() -> None:
    good, refused = b'{"status":200,"reply":{}}', b'{"status":409,"problem":{}}'
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert is_good(bytearray(head + good + good), 2)
    assert not is_good(bytearray(head + good + refused), 2)


def test_a_short_training_is_reported_from_its_first_epoch_to_its_last() -> None:
    load = short("run")
    first, last, next_one = (load.request(number).decode() for number in (0, SHORT_RUN - 1, SHORT_RUN))
    assert first.startswith("POST /runs/run-0/epoch ")
    assert last.startswith("POST /runs/run-0/epoch ")
    assert next_one.startswith("POST /runs/run-1/epoch ")
    reports = [EpochReport.model_validate_json(each.partition("\r\n\r\n")[2]) for each in (first, last)]
    assert [report.epoch for report in reports] == [0, SHORT_RUN - 1]
    assert reports[0].val_accuracy == 52.0
    assert 70.0 < (reports[1].val_accuracy or 0.0) < 72.0
    metrics = reports[1].seeds[0].metrics
    assert metrics is not None
    assert metrics.epochs_in_current_stage == SHORT_RUN - 1
