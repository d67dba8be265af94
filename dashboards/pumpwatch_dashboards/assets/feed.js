/* The browser's end of the live feed: one WebSocket, opened again when it breaks, and a call a second whatever comes. */
export function listen({ layout, alarms, frame, state }) {
  let wait = 1000, known = "";
  function open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") { frame(data); return; }
      const message = JSON.parse(data);
      wait = 1000;
      if (message.type === "layout" && data !== known) { known = data; layout(message); }
      else if (message.type === "alarms") alarms(message.alarms ?? []);
      else if (message.type === "feed") state(message);
    };
    socket.onclose = () => { setTimeout(open, wait * (0.8 + 0.4 * Math.random())); wait = Math.min(10000, 2 * wait); };
  }
  open();
}

/** GET facts as JSON; throws an Error whose text an operator can read. */
export async function facts(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(reason(said, answer.status));
  return said;
}
export const reason = (said, status) => {
  const text = said?.detail ?? said?.error;
  return `${typeof text === "string" ? text : ""}${text ? " " : ""}(${status})`;
};
