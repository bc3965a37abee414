"""Whether a download can begin at all."""

import http.client
import queue
import threading
import urllib.error
import urllib.request


def why_unreachable(url: str, seconds: float) -> str:
    """Requests the first byte of `url`; returns why it did not come, or "" if it did.

    In a separate thread, because a connection timeout does not bound the name lookup, and before TFDS
    downloads, because its download manager retries for minutes and never times out.
    """
    answer: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as response:
                answer.put("" if response.read(1) else "the answer is empty")
        except urllib.error.HTTPError as error:
            answer.put(f"HTTP status {error.code}")
            error.close()
        except urllib.error.URLError as error:
            answer.put(str(error.reason))
        except (OSError, ValueError, http.client.HTTPException) as error:
            answer.put(str(error) or type(error).__name__)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds:g} s"
