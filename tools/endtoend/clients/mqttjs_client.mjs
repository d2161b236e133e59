// MQTT.js through a proxy in front of a broker cluster. Started by tests/mqtt_clients.rs.
//
//   mqttjs_client.mjs checks TCP_PORT WEBSOCKET_PORT    every exchange once per version and transport; a line for each
//   mqttjs_client.mjs hold TCP_PORT WEBSOCKET_PORT      subscribers that must lose nothing until standard input ends
//
// Exit code 1 and a line "failed NAME: WHY" when something is not as it should be. MQTTJS_FOLDER names the folder whose node_modules has mqtt.

import { createRequire } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import path from 'node:path';

const mqtt = createRequire(path.join(process.env.MQTTJS_FOLDER, 'package.json'))('mqtt');

const PATIENCE_MS = 20_000;
const VERSIONS = { v311: 4, v5: 5 };
// mosquitto 2.0's WebSocket listener stalls by itself, without any proxy, on messages of 256 KiB.
const LARGE = { tcp: 1 << 20, websockets: 32 << 10 };

function same(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${String(JSON.stringify(got)).slice(0, 80)}, not ${String(JSON.stringify(wanted)).slice(0, 80)}`);
  }
}

// A connected client that keeps what it receives.
class Client {
  static async connect(url, version, name, { clean = true, will } = {}) {
    const options = {
      clientId: name, protocolVersion: version, clean, keepalive: 30, reconnectPeriod: 0, connectTimeout: PATIENCE_MS,
      ...(will && { will: { topic: will, payload: Buffer.from(`gone ${name}`), qos: 1 } }),
      ...(version === 5 && { properties: { sessionExpiryInterval: clean ? 0 : 300, userProperties: { site: ['plant', 'again'] } } }),
    };
    const client = new Client();
    client.messages = [];
    client.waiting = [];
    client.closed = false;
    client.inner = mqtt.connect(url, options);
    client.inner.on('message', (topic, payload, packet) => {
      const next = client.waiting.shift();
      next ? next(packet) : client.messages.push(packet);
    });
    client.inner.on('close', () => { client.closed = true; });
    client.inner.on('error', () => {});
    await new Promise((resolve, reject) => {
      client.inner.once('connect', (packet) => { client.sessionPresent = packet.sessionPresent; resolve(); });
      client.inner.once('close', () => reject(new Error(`no CONNACK for ${name}`)));
    });
    return client;
  }

  subscribe(topic, qos) { return this.inner.subscribeAsync(topic, { qos }); }

  publish(topic, payload, qos, options = {}) { return this.inner.publishAsync(topic, payload, { qos, ...options }); }

  receive() {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no message came')), PATIENCE_MS);
      this.waiting.push((packet) => { clearTimeout(timer); resolve(packet); });
    });
  }

  leave() { return this.inner.endAsync(); }

  // The connection ends without a DISCONNECT.
  die() { this.inner.stream.destroy(); }
}

// One transport and version.
class Checks {
  constructor(transport, url, label) {
    this.url = url;
    this.transport = transport;
    this.version = VERSIONS[label];
    this.prefix = `mqttjs-${transport}-${label}`;
    this.topic = `t/${this.prefix}`;
  }

  client(name, options) { return Client.connect(this.url, this.version, `${this.prefix}-${name}`, options); }

  // Each quality of service, from one client to another that may be on another broker.
  async qualities() {
    const [reader, writer] = [await this.client('reader'), await this.client('writer')];
    for (const qos of [0, 1, 2]) {
      const topic = `${this.topic}/qos${qos}`;
      await reader.subscribe(topic, qos);
      for (const text of ['0', '1', '2']) {
        await writer.publish(topic, text, qos);
        const packet = await reader.receive();
        same('message', [packet.payload.toString(), packet.qos], [text, qos]);
      }
    }
    await Promise.all([reader.leave(), writer.leave()]);
  }

  async large() {
    const payload = Buffer.alloc(LARGE[this.transport], 'a payload that is cut somewhere else each time');
    const [reader, writer] = [await this.client('large-reader'), await this.client('large-writer')];
    await reader.subscribe(`${this.topic}/large`, 2);
    for (const qos of [0, 1, 2]) {
      await writer.publish(`${this.topic}/large`, payload, qos);
      same('large payload is whole', (await reader.receive()).payload.equals(payload), true);
    }
    await Promise.all([reader.leave(), writer.leave()]);
  }

  async retained() {
    const topic = `${this.topic}/kept`;
    const [writer, witness] = [await this.client('keeper'), await this.client('witness')];
    await witness.subscribe(topic, 1);
    await writer.publish(topic, 'kept', 1, { retain: true });
    same('live', (await witness.receive()).payload.toString(), 'kept');
    const late = await this.client('late');
    await late.subscribe(topic, 1);
    same('payload', (await late.receive()).payload.toString(), 'kept');
    await writer.publish(topic, '', 1, { retain: true });
    same('cleared', (await late.receive()).payload.length, 0);
    await Promise.all([writer.leave(), witness.leave(), late.leave()]);
  }

  async will() {
    const [watcher, topic] = [await this.client('watcher'), `${this.topic}/will`];
    await watcher.subscribe(topic, 1);
    const victim = await this.client('victim', { will: topic });
    victim.die();
    same('will', (await watcher.receive()).payload.toString(), `gone ${this.prefix}-victim`);
    const polite = await this.client('polite', { will: topic });
    await polite.leave();
    await watcher.publish(topic, 'after', 1);
    same('no will of who says goodbye', (await watcher.receive()).payload.toString(), 'after');
    await watcher.leave();
  }

  // A session that waits on its broker: only a client that comes back to the same one finds it.
  async session() {
    const [writer, topic] = [await this.client('sender'), `${this.topic}/session`];
    for (let turn = 0; turn < 3; turn += 1) {
      let sleeper = await this.client('sleeper', { clean: false });
      await sleeper.subscribe(topic, 1);
      await sleeper.leave();
      await writer.publish(topic, 'while away', 1);
      sleeper = await this.client('sleeper', { clean: false });
      same('session present', sleeper.sessionPresent, true);
      same('message', (await sleeper.receive()).payload.toString(), 'while away');
      await sleeper.leave();
    }
    await writer.leave();
  }

  async properties() {
    const [reader, writer] = [await this.client('property-reader'), await this.client('property-writer')];
    await reader.subscribe(`${this.topic}/properties`, 1);
    const properties = { userProperties: { a: ['1', '2'], ü: 'ö' }, contentType: 'text/plain', correlationData: Buffer.from([0, 1]) };
    await writer.publish(`${this.topic}/properties`, '', 1, { properties });
    const got = (await reader.receive()).properties;
    same('user properties', { ...got.userProperties }, properties.userProperties);
    same('others', [got.contentType, got.correlationData.toString('hex')], ['text/plain', '0001']);
    await Promise.all([reader.leave(), writer.leave()]);
  }

  async run(failures) {
    const checks = ['qualities', 'large', 'retained', 'will'];
    // Stick rules are for the plain port: behind WebSocket frames nothing sees a client id.
    if (this.transport === 'tcp') checks.push('session');
    if (this.version === 5) checks.push('properties');
    for (const check of checks) {
      try {
        await this[check]();
        console.log(`ok ${this.prefix} ${check}`);
      } catch (error) {
        failures.push(`failed ${this.prefix} ${check}: ${error.message}`);
      }
    }
  }
}

async function every(urls) {
  const failures = [];
  const checks = Object.entries(urls).flatMap(([transport, url]) => Object.keys(VERSIONS).map((label) => new Checks(transport, url, label)));
  await Promise.all(checks.map((each) => each.run(failures)));
  return failures;
}

// Numbers flow until standard input ends; each subscriber must have them all, in order, over one connection.
async function hold(urls) {
  const [failures, pairs] = [[], []];
  for (const [transport, url] of Object.entries(urls)) {
    for (const [label, version] of Object.entries(VERSIONS)) {
      const name = `mqttjs-hold-${transport}-${label}`;
      const reader = await Client.connect(url, version, `${name}-reader`);
      await reader.subscribe(`t/${name}`, 1);
      pairs.push({ name, reader, writer: await Client.connect(url, version, `${name}-writer`) });
    }
  }
  let stopped = false;
  process.stdin.on('end', () => { stopped = true; }).resume();
  let sent = 0;
  while (!stopped) {
    await Promise.all(pairs.map(({ name, writer }) => writer.publish(`t/${name}`, String(sent), 1)));
    sent += 1;
    if (sent === 20) console.log('ready');
    // Standard input is looked at between turns.
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  for (const { name, reader, writer } of pairs) {
    for (let number = 0; number < sent; number += 1) {
      const got = (await reader.receive()).payload.toString();
      if (got !== String(number)) {
        failures.push(`failed ${name}: ${got} came instead of ${number}`);
        break;
      }
    }
    if (reader.closed || writer.closed) failures.push(`failed ${name}: a connection was closed`);
    await Promise.all([reader.leave(), writer.leave()]);
  }
  console.log(`held ${sent}`);
  return failures;
}

const [mode, tcp, websocket] = process.argv.slice(2);
const urls = { tcp: `mqtt://127.0.0.1:${tcp}`, websockets: `ws://127.0.0.1:${websocket}/mqtt` };
const failures = mode === 'checks' ? await every(urls) : await hold(urls);
failures.forEach((failure) => console.log(failure));
process.exit(failures.length > 0 ? 1 : 0);
