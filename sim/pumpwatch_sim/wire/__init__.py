"""Wire protocols as bytes, the devices' side; no sockets."""
