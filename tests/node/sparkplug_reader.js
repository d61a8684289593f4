// Reads payloads of Sparkplug B with Eclipse Tahu's own reader: one in base64 per line, one JSON document per line.
// A line that begins with "=" holds JSON that is written as a payload, and answered in base64.
"use strict";
const sparkplug = require("sparkplug-payload").get("spBv1.0");

function plain(key, value) {
  if (value !== null && typeof value === "object" && "low" in value && "high" in value) {
    const unsigned = (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
    return String(value.unsigned ? unsigned : BigInt.asIntN(64, unsigned));
  }
  return typeof value === "number" && !Number.isInteger(value) ? { double: String(value) } : value;
}

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line.startsWith("=")) {
      console.log(Buffer.from(sparkplug.encodePayload(JSON.parse(line.slice(1)))).toString("base64"));
    } else {
      console.log(JSON.stringify(sparkplug.decodePayload(Buffer.from(line, "base64")), plain));
    }
  });
