"""Server-sent events in the browser. Oracle: the HTML standard, section 9.2.6, worked out by hand."""

from tests.server.page.acting import OpenPage

SSE = (
    ': hello\r\n\r\nevent: progress\ndata: {"step": 1}\nid: 7\n\n'
    "data:one\rdata: two é 🐕\r\rid\ndata\n\nevent: lost\n\ndata: unfinished"
)
EVENTS = [
    {"event": "progress", "data": '{"step": 1}', "id": "7"},
    {"event": "message", "data": "one\ntwo é 🐕", "id": "7"},
    {"event": "message", "data": "", "id": ""},
]
READ_IN_PIECES = """async ({bytes, size}) => {
    const {readEvents} = await import("/page/js/sse.js");
    const body = new ReadableStream({start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(Uint8Array.from(bytes.slice(at, at + size)));
        controller.close();
    }});
    const found = [];
    for await (const event of readEvents(new Response(body))) found.push(event);
    return found;
}"""


def test_server_sent_events_are_read_however_they_are_cut(open_page: OpenPage) -> None:
    page = open_page()
    for size in (1, 2, 3, 5, 7, 64, 1000):
        assert page.evaluate(READ_IN_PIECES, {"bytes": list(SSE.encode()), "size": size}) == EVENTS
