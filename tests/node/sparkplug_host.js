// A host of Sparkplug B on Eclipse Tahu's libraries: prints the births of a node, asks once for a rebirth, and ends
// with the second DBIRTH. Arguments: port, group, node.
"use strict";
const path = require.resolve("sparkplug-client");
const mqtt = require(require.resolve("mqtt", { paths: [path] }));
const sparkplug = require("sparkplug-payload").get("spBv1.0");
const [port, group, node] = process.argv.slice(2);

const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 });
let births = 0;
client.on("connect", () => client.subscribe(`spBv1.0/${group}/#`, { qos: 1 }, () => console.log("subscribed")));
client.on("message", (topic, payload) => {
  const verb = topic.split("/")[2];
  if (verb !== "NBIRTH" && verb !== "DBIRTH") return;
  const read = sparkplug.decodePayload(payload);
  console.log(`${verb} ${read.seq} ${read.metrics.length}`);
  if (verb !== "DBIRTH") return;
  births += 1;
  if (births === 2) return client.end(true, () => process.exit(0));
  const metrics = [{ name: "Node Control/Rebirth", type: "Boolean", value: true }];
  const command = sparkplug.encodePayload({ timestamp: Date.now(), metrics });
  client.publish(`spBv1.0/${group}/NCMD/${node}`, Buffer.from(command), { qos: 0 });
});
