// A PLC by OPC UA, by node-opcua-client: one part, from the trigger to the acknowledgement. Prints what it reads.
"use strict";
const { OPCUAClient, AttributeIds, DataType, VariantArrayType, MessageSecurityMode, SecurityPolicy } =
    require("node-opcua-client");

const [url, part] = [process.argv[2], Number(process.argv[3])];
const SESSION = 9;
let number = 0;

function mailbox(type, station, numbers, text) {
    const box = new Uint16Array(48);
    number += 1;
    box[0] = box[46] = number >>> 16;
    box[1] = box[47] = number & 0xffff;
    box[2] = (3 << 8) | type;
    box[3] = SESSION;
    box[4] = station;
    numbers.forEach((word, at) => { box[5 + at] = word; });
    box[12] = text.length;
    for (let at = 0; at < text.length; at++) box[13 + (at >> 1)] |= text.charCodeAt(at) << (at % 2 ? 0 : 8);
    return box;
}

const text = (box) => Array.from({ length: box[12] }, (_, at) =>
    String.fromCharCode(at % 2 ? box[13 + (at >> 1)] & 0xff : box[13 + (at >> 1)] >> 8)).join("");

async function main() {
    const client = OPCUAClient.create({
        endpointMustExist: false, securityMode: MessageSecurityMode.None, securityPolicy: SecurityPolicy.None,
        connectionStrategy: { maxRetry: 40, initialDelay: 200, maxDelay: 500 },
    });
    await client.connect(url);
    const session = await client.createSession();
    const names = await session.readNamespaceArray();
    const own = names.indexOf("urn:inspection-station");
    const vision = names.indexOf("http://opcfoundation.org/UA/MachineVision");
    const id = (name) => `ns=${own};s=VisionSystem/${name}`;
    const read = async (name) => (await session.read({ nodeId: id(name), attributeId: AttributeIds.Value })).value.value;
    const write = async (name, box) => {
        const status = await session.write({
            nodeId: id(`Handshake/ToStation/${name}`), attributeId: AttributeIds.Value,
            value: { value: { dataType: DataType.UInt16, arrayType: VariantArrayType.Array, value: box } },
        });
        if (status.value !== 0) throw new Error(`${name}: ${status.toString()}`);
    };
    const until = async (name, condition) => {
        for (let tries = 0; tries < 1000; tries++) {
            const value = await read(name);
            if (condition(value)) return value;
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
        throw new Error(`${name} waited in vain`);
    };
    const browsed = await session.browse(id(""). replace(/\/$/, ""));
    console.log("browse", browsed.references.filter((one) => one.browseName.namespaceIndex === vision)
        .map((one) => one.browseName.name).sort().join(" "));

    const hello = await until("Handshake/ToCell/Hello", (box) => box[1] > 0);
    const station = hello[3];
    console.log("hello", text(hello));
    await write("Heartbeat", mailbox(0x02, station, [1, 1], ""));
    await until("Handshake/Bits", (bits) => bits & 1);
    console.log("state", (await read("VisionStateMachine/CurrentState")).text,
        (await read("VisionStateMachine/AutomaticModeStateMachine/CurrentState")).text);
    const trigger = mailbox(0x10, station, [part >>> 16, part & 0xffff], "housing;lot 7");
    await write("Trigger", trigger);
    const result = await until("Handshake/ToCell/Result", (box) => box[6] === trigger[1] && box[5] === trigger[0]);
    const bits = await until("Handshake/Bits", (value) => value & 8);
    console.log("result", result[9], "bin", result[10], "class", result[11], text(result), "bits", bits & 0x78);
    console.log("part", await read("ResultManagement/Results/Result/PartId"));
    await write("ResultAck", mailbox(0x21, station, [result[5], result[6], result[7], result[8], 1, result[10]], ""));
    await until("Handshake/Bits", (value) => !(value & 8));
    console.log("acknowledged");
    await session.close();
    await client.disconnect();
}

main().catch((error) => { console.error(error.message); process.exit(1); });
