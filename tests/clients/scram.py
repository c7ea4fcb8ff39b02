"""SCRAM over POP3 with TLS, by Python's standard library alone: what no packaged client says on purpose.

Arguments: port, login, password, mechanism, flag. The flag is what stands first in the client's first message: `n`, `y`,
`p=tls-server-end-point`, or `p=tls-server-end-point!` to bind to a certificate that is not the server's.
Prints what the server said after the proof, and whether it proved itself, one word a line.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import sys


def main():
    port, login, password, mechanism, flag = sys.argv[1:]
    name = "sha1" if "SHA-1" in mechanism else "sha256"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    wire = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port)), timeout=30))
    lines = wire.makefile("rb")
    lines.readline()

    def say(message):
        wire.sendall(message + b"\r\n")
        return lines.readline().strip()

    def answer(text):
        return say(base64.b64encode(text.encode()))

    bound = b""
    if flag.startswith("p="):
        bound = hashlib.sha256(wire.getpeercert(binary_form=True)).digest()
    if flag.endswith("!"):
        flag, bound = flag[:-1], hashlib.sha256(b"another").digest()
    header = f"{flag},,"
    say(f"AUTH {mechanism}".encode())
    bare = f"n={login},r={secrets.token_urlsafe(18)}"
    challenge = answer(header + bare)
    if not challenge.startswith(b"+ "):
        print("refused")
        return
    server_first = base64.b64decode(challenge[2:]).decode()
    parts = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))

    def sign(key, text):
        return hmac.new(key, text, name).digest()

    client_key = sign(salted, b"Client Key")
    binding = base64.b64encode(header.encode() + bound).decode()
    without_proof = f"c={binding},r={parts['r']}"
    whole = f"{bare},{server_first},{without_proof}".encode()
    signature = sign(hashlib.new(name, client_key).digest(), whole)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    said = answer(f"{without_proof},p={base64.b64encode(proof).decode()}")
    if not said.startswith(b"+ "):
        print("refused")
        return
    expected = b"v=" + base64.b64encode(sign(sign(salted, b"Server Key"), whole))
    print("proven" if base64.b64decode(said[2:]) == expected else "impostor")
    print("in" if say(b"").startswith(b"+OK") else "out")


main()
