"""Two of aiortc's own RTCPeerConnections talk to each other through a TURN server, and have no other way.

Run it with TURN_URI, TURN_USER and TURN_PASSWORD set. It prints what arrived, and by which candidates.
"""

import asyncio
import os

from aiortc import RTCConfiguration, RTCIceTransportPolicy, RTCPeerConnection

from turn_client.ice import RelaySource, use_relays


async def main() -> None:
    """Connect the two, send one message, and close."""
    source = RelaySource([os.environ["TURN_URI"]], (os.environ["TURN_USER"], os.environ["TURN_PASSWORD"]))
    only_relays = RTCConfiguration(iceServers=[], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    one, two = RTCPeerConnection(only_relays), RTCPeerConnection(only_relays)
    for peer in (one, two):
        use_relays(peer, source)

    arrived: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    two.on("datachannel", lambda channel: channel.on("message", arrived.set_result))
    greeting = one.createDataChannel("greetings")
    greeting.on("open", lambda: greeting.send("salam"))

    await one.setLocalDescription(await one.createOffer())
    await two.setRemoteDescription(one.localDescription)
    await two.setLocalDescription(await two.createAnswer())
    await one.setRemoteDescription(two.localDescription)

    print("arrived:", await asyncio.wait_for(arrived, 30))
    print("candidates:", *[line.split()[7] for line in one.localDescription.sdp.splitlines() if line.startswith("a=candidate")])
    await asyncio.gather(one.close(), two.close())


if __name__ == "__main__":
    asyncio.run(main())
