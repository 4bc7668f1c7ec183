import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { sourcesOf } from '../../node/webhook/allowed-sources.ts';
import { testIdStart } from '../../node/webhook/webhook-delivery.ts';
import { doorLimits, WebhookDoor } from '../../node/webhook/webhook-door.ts';
import { doorSecrets, signing } from '../../node/webhook/webhook-secrets.ts';
import { testCertificate } from '../hosting/test-certificate.ts';
import { Chance } from '../sim/chance.ts';

/** The door for webhooks on a socket, and whoever comes to it. */
const secrets = doorSecrets('glpat-admin', 'mesh-1', 'kang');
const whole = { ...doorLimits };
const doors: WebhookDoor[] = [];
const sockets: Socket[] = [];
let hints = 0;

afterEach(async () => {
  Object.assign(doorLimits, whole);
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const door of doors.splice(0)) await door.close();
});

async function opened(more: Partial<Parameters<typeof WebhookDoor.open>[0]> = {}): Promise<WebhookDoor> {
  hints = 0;
  const door = await WebhookDoor.open({
    ...{ host: '127.0.0.1', port: 0, pem: null, allow: null, secrets: () => secrets },
    onHint: () => {
      hints += 1;
      return 'heard';
    },
    onRefused: () => {},
    wallMs: () => Date.now(),
    ...more,
  });
  doors.push(door);
  return door;
}

const pending = JSON.stringify({ object_kind: 'build', build_status: 'pending' });
const plain = { 'X-Gitlab-Event': 'Job Hook', 'X-Gitlab-Token': secrets.token };
const signed = (body: string, id: string = randomUUID()) => {
  const seconds = String(Math.floor(Date.now() / 1000));
  const mac = signing(secrets.key, id, seconds).update(body).digest('base64');
  return { ...plain, 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': `v1,${mac}` };
};

interface Said {
  status: number;
  text: string;
}

function send(
  door: WebhookDoor,
  headers: Record<string, string>,
  body: string | Buffer,
  method = 'POST',
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port: door.port, method, headers, agent: false }, async (response) => {
      let text = '';
      for await (const part of response) text += part;
      resolve({ status: response.statusCode ?? 0, text });
    });
    // What comes after an answer is no news: the rest of a refused body is not wanted.
    call.on('error', reject);
    call.end(body);
  });
}

function dialled(door: WebhookDoor): Promise<Socket> {
  const socket = connect(door.port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => {});
  return once(socket, 'connect').then(() => socket);
}

const ended = (socket: Socket): Promise<string> => {
  let text = '';
  socket.on('data', (part) => {
    text += part;
  });
  return once(socket, 'close').then(() => text);
};

describe("the door for GitLab's webhooks", () => {
  it('hears a signed delivery, and the same one once; a wrong secret, a stripped or foreign signature, another method are refused in words', async () => {
    const door = await opened();
    const first = signed(pending);
    expect(await send(door, first, pending)).toEqual({ status: 200, text: 'heard\n' });
    expect(await send(door, first, pending)).toEqual({ status: 200, text: 'ignored: it was here before\n' });
    expect((await send(door, { ...plain, 'X-Gitlab-Token': 'x' }, pending)).status).toBe(401);
    expect((await send(door, plain, pending)).text).toBe('refused: it has no signature, and this GitLab signs\n');
    expect((await send(door, signed('{}'), pending)).text).toBe('refused: none of its signatures fits\n');
    expect((await send(door, {}, '', 'GET')).status).toBe(405);
    expect(hints).toBe(1);
    expect(door.counts).toMatchObject({ hints: 1, ignored: 1, refused: { token: 1, signature: 2, method: 1 } });
    expect(door.counts.lastAt).toBeGreaterThan(Date.now() - 60_000);
  });

  it('an older GitLab does not sign; without a GitLab nothing is believed', async () => {
    const door = await opened();
    expect((await send(door, plain, pending)).status).toBe(200);
    // `webhook test` signs: after it this GitLab was refused, and switched its hooks off.
    expect((await send(door, signed(pending, `${testIdStart}1`), pending)).text).toBe('heard\n');
    expect(await send(door, plain, pending)).toEqual({ status: 200, text: 'heard\n' });
    hints = 0;
    expect((await send(await opened({ secrets: () => null }), plain, pending)).status).toBe(503);
    expect(hints).toBe(0);
  });

  it('of another secret, what was remembered by the one of before is forgotten', async () => {
    let now = secrets;
    const door = await opened({ secrets: () => now });
    await send(door, signed(pending), pending);
    now = doorSecrets('glpat-another', 'mesh-1', 'kang');
    expect((await send(door, { ...plain, 'X-Gitlab-Token': now.token }, pending)).status).toBe(200);
  });

  it('a flood: 60 of a stranger are answered, then he is told to wait; GitLab with the secret is heard on', async () => {
    const door = await opened();
    const wrong = { ...plain, 'X-Gitlab-Token': 'guess' };
    const said: number[] = [];
    for (let round = 0; round < 100; round++) said.push((await send(door, wrong, pending)).status);
    expect(said.slice(0, 60)).toEqual(Array(60).fill(401));
    expect(said.slice(60)).toContain(429);
    expect(await send(door, signed(pending), pending)).toEqual({ status: 200, text: 'heard\n' });
    expect(hints).toBe(1);
  });

  it('11 MB: refused, said or not, and heard by who sends it; 9 MB are a hint', async () => {
    const door = await opened();
    const long = Buffer.alloc(11_000_000, 'x');
    expect(await send(door, plain, long)).toMatchObject({ status: 413, text: 'refused: it is larger than 10 MB\n' });
    expect(await send(door, { ...plain, 'Transfer-Encoding': 'chunked' }, long)).toMatchObject({ status: 413 });
    expect((await send(door, { ...plain, 'X-Gitlab-Token': 'guess' }, long)).status).toBe(401);
    const large = 'x'.repeat(9_000_000);
    expect(await send(door, signed(large), large)).toEqual({ status: 200, text: 'heard\n' });
  });

  it('whoever is slow is let go: without a request, in the headers, in the body', async () => {
    Object.assign(doorLimits, { headMs: 400, wholeMs: 900 });
    const door = await opened();
    const [silent, slow, half] = [await dialled(door), await dialled(door), await dialled(door)];
    const all = Promise.all([silent, slow, half].map(ended));
    const drip = setInterval(() => slow.write('X-A: b\r\n'), 100);
    slow.write('POST / HTTP/1.1\r\nHost: a\r\n');
    half.write(`POST / HTTP/1.1\r\nHost: a\r\nX-Gitlab-Token: ${secrets.token}\r\nContent-Length: 100\r\n\r\n{`);
    const began = performance.now();
    await all;
    clearInterval(drip);
    expect(performance.now() - began).toBeLessThan(8_000);
    expect((await send(door, plain, pending)).status).toBe(200);
  });

  it('one source does not take all connections', async () => {
    const door = await opened();
    const held: Socket[] = [];
    let refused = 0;
    for (let one = 0; one < doorLimits.connections; one++) {
      const socket = await dialled(door);
      socket.once('close', () => {
        refused += 1;
      });
      held.push(socket);
    }
    await expect.poll(() => refused, { timeout: 5_000 }).toBe(doorLimits.connections / 2);
    for (const socket of held) socket.destroy();
    await expect
      .poll(async () => (await send(door, plain, pending).catch(() => null))?.status, { timeout: 5_000 })
      .toBe(200);
  });

  it('only from where it may come', async () => {
    expect((await send(await opened({ allow: sourcesOf(['127.0.0.0/8']) }), plain, pending)).status).toBe(200);
    const other = await opened({ allow: sourcesOf(['192.168.1.0/24']) });
    expect(await send(other, plain, pending)).toEqual({
      status: 403,
      text: 'refused: its address is not among those of webhookAllow\n',
    });
  });

  it('garbage: whatever bytes come, it goes on, and nothing comes of them', async () => {
    const door = await opened();
    const chance = new Chance(11);
    const parts = [
      'POST / HTTP/1.1\r\n',
      'Host: a\r\n',
      'Content-Length: 5\r\n',
      'Transfer-Encoding: chunked\r\n',
      'X-Gitlab-Token: \u0000\r\n',
      'Upgrade: websocket\r\nConnection: Upgrade\r\n',
      'Expect: 100-continue\r\n',
      `X: ${'y'.repeat(20_000)}\r\n`,
      '\r\n',
      'CONNECT a:1 HTTP/1.1\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\u0016\u0003\u0001',
    ];
    for (let round = 0; round < 120; round++) {
      const socket = await dialled(door);
      const end = ended(socket);
      for (let part = chance.below(6); part >= 0; part--)
        socket.write(
          chance.maybe(0.3)
            ? Buffer.from(Array.from({ length: chance.below(200) }, () => chance.below(256)))
            : (parts[chance.below(parts.length)] as string),
        );
      socket.end();
      socket.resume();
      await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 50))]);
      socket.destroy();
    }
    expect(hints).toBe(0);
    await expect
      .poll(async () => (await send(door, plain, pending).catch(() => null))?.status, { timeout: 5_000 })
      .toBe(200);
  });

  it('with a certificate, and with a new one without an end', async () => {
    const made = (name: string): string => {
      const { certificate, key } = testCertificate([name]);
      return certificate + key;
    };
    await expect(opened({ pem: 'no certificate' })).rejects.toMatchObject({ code: 'bad-config' });
    const door = await opened({ pem: made('first') });
    const served = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const options = { host: '127.0.0.1', port: door.port, method: 'POST', headers: plain, agent: false };
        const call = secureRequest({ ...options, rejectUnauthorized: false }, (response) => {
          response.resume();
          resolve(`${response.statusCode} ${(response.socket as TLSSocket).getPeerCertificate().subject.CN}`);
        });
        call.on('error', reject);
        call.end(pending);
      });
    expect(await served()).toBe('200 first');
    door.renew(made('second'));
    expect(await served()).toBe('200 second');
    expect(() => door.renew('no certificate')).toThrow();
    expect(await served()).toBe('200 second');
    await expect(opened({ port: door.port })).rejects.toMatchObject({ code: 'port-taken' });
  });
});
