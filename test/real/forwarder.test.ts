import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { type ForwardTarget, writeTarget } from '../../node/hosting/forward/forward-files.ts';
import { greeting, heardFrom, memberIn, memberKey, newNonce } from '../../node/hosting/forward/hand-over.ts';
import { ServiceForwarder } from '../../node/hosting/forward/service-forwarder.ts';
import type { Door } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { readMemberSecret, writeMemberSecret } from '../../node/hosting/gate/member-door.ts';
import { ServiceGate } from '../../node/hosting/gate/service-gate.ts';
import { freePort } from '../fixtures/free-port.ts';

/** Gate and forwarder in this process, at two addresses of the loopback as two machines; sockets are real. */
const clock = systemClock();
const [hostAt, otherAt] = ['127.0.0.1', '127.0.0.2'];
const node = '12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8';
let [gateHome, home]: string[] = [];
let gitlab: Server;
let gate: ServiceGate;
let forwarder: ServiceForwarder;
let door: Door & { kind: 'http' };
let members: number;
let seen: string[];
const sockets: Socket[] = [];

async function listen(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => undefined));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

const serve = (more: object = {}): Promise<void> =>
  writeLease(gateHome as string, {
    ...{ id: String(Math.random()).slice(2), bootId: clock.bootId(), epoch: 1, until: clock.bootMs() + 60_000 },
    ...{ upstream: '127.0.0.1', isServing: true, because: '', tellsClient: true, ...more },
  });

async function aim(more: Partial<ForwardTarget> = {}): Promise<void> {
  const secret = readMemberSecret(gateHome as string) as Buffer;
  const gateAt = { addresses: [hostAt], port: members, key: memberKey(secret, node).toString('base64') };
  const times = { bootId: clock.bootId(), until: clock.bootMs() + 60_000 };
  const id = String(Math.random()).slice(2);
  await writeTarget(
    home as string,
    { id, ...times, node, gate: gateAt, because: 'kang does not answer', ...more },
    null,
  );
  forwarder.look();
}

beforeEach(async () => {
  gateHome = mkdtempSync('/var/tmp/t-forward-gate-');
  home = mkdtempSync('/var/tmp/t-forward-');
  gitlab = await listen();
  seen = [];
  writeMemberSecret(gateHome, process.getuid?.() ?? 0);
  await serve();
  door = { kind: 'http', port: await freePort(), behind: portOf(gitlab), proxy: true };
  gate = new ServiceGate(gateHome, clock, { say: () => undefined, heard: () => undefined });
  await gate.listen([door], {
    host: hostAt,
    members: (port) => {
      members = port;
    },
  });
  forwarder = new ServiceForwarder(home, clock, { say: () => undefined, seen: (_, how) => void seen.push(how) });
  await aim();
  expect(await forwarder.listen([door], otherAt)).toEqual([]);
});

afterEach(() => {
  forwarder.close();
  gate.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  gitlab.close();
  for (const folder of [gateHome, home]) rmSync(folder as string, { recursive: true, force: true });
});

function call(port = door.port, host = otherAt): Socket {
  const socket = connect({ port, host, allowHalfOpen: true });
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

/** Both ends of a client's way to GitLab by the other machine, behind the PROXY line. */
async function passing(): Promise<{ client: Socket; inner: Socket; proxy: string }> {
  const came = once(gitlab, 'connection') as Promise<[Socket]>;
  const client = call();
  const [inner] = await came;
  inner.on('error', () => undefined);
  sockets.push(inner);
  const [chunk] = (await once(inner, 'data')) as [Buffer];
  return { client, inner, proxy: chunk.toString('latin1') };
}

const all = (socket: Socket): { text: string } => {
  const got = { text: '' };
  socket.on('data', (chunk: Buffer) => {
    got.text += chunk.toString('latin1');
  });
  return got;
};

async function page(path = '/', agent = 'curl/8'): Promise<string> {
  const client = call();
  const got = all(client);
  client.write(`GET ${path} HTTP/1.1\r\nHost: lab.local\r\nUser-Agent: ${agent}\r\nConnection: close\r\n\r\n`);
  await once(client, 'end');
  return got.text;
}

describe('GitLab by another machine of its mesh', () => {
  it('byte for byte, and GitLab is told who the client is and where it came to', async () => {
    const { client, inner, proxy } = await passing();
    expect(proxy).toBe(`PROXY TCP4 127.0.0.1 ${otherAt} ${client.localPort} ${door.port}\r\n`);
    const [up, down] = [all(inner), all(client)];
    const bytes = Buffer.alloc(3 << 20, 'abcdefg');
    client.write(bytes);
    inner.write(bytes);
    await vi.waitUntil(() => up.text.length + down.text.length === 2 * bytes.length);
    expect([up.text === bytes.toString('latin1'), down.text === up.text]).toEqual([true, true]);
    expect(seen.at(-1)).toBe('fine');
  });

  it('whoever speaks first is heard at once, as sshd is', async () => {
    gitlab.on('connection', (socket) => socket.write('SSH-2.0-OpenSSH\r\n'));
    const client = call();
    const [banner] = (await once(client, 'data')) as [Buffer];
    expect(banner.toString()).toBe('SSH-2.0-OpenSSH\r\n');
  });

  it('an end of one direction is that alone, both ways', async () => {
    const one = await passing();
    const up = all(one.inner);
    one.client.end('the last of it');
    await once(one.inner, 'end');
    expect(up.text).toBe('the last of it');
    const down = all(one.client);
    one.inner.end('and the answer');
    await once(one.client, 'end');
    expect(down.text).toBe('and the answer');
    const other = await passing();
    other.inner.end('first');
    await once(other.client.resume(), 'end');
    const rest = all(other.inner);
    other.client.end('then');
    await once(other.inner, 'end');
    expect(rest.text).toBe('then');
  });

  it.each(['GitLab', 'the client'])('a reset by %s arrives as a reset, behind half an answer too', async (who) => {
    const { client, inner } = await passing();
    const [one, other] = who === 'GitLab' ? [inner, client] : [client, inner];
    const got = all(other);
    const broken = once(other, 'error').catch((error) => [error]);
    other.on('end', () => (got.text += ' ended in order'));
    one.write('half');
    await vi.waitUntil(() => got.text === 'half');
    one.resetAndDestroy();
    expect(await broken).toMatchObject([{ code: 'ECONNRESET' }]);
    expect(got.text).toBe('half');
  });

  it('who does not read holds the other up, and nobody else', async () => {
    const { client, inner } = await passing();
    client.pause();
    const chunk = Buffer.alloc(1 << 20);
    for (let sent = 0; sent < 64; sent++) inner.write(chunk);
    await new Promise((done) => setTimeout(done, 500));
    expect(inner.writableLength).toBeGreaterThan(0);
    expect((await passing()).proxy).toMatch(/^PROXY/);
  });

  it('whoever comes soon after finds a connection made, and where the gate has given that up another one', async () => {
    await passing();
    const reached = once(gitlab, 'connection');
    expect((await passing()).proxy).toMatch(/^PROXY/);
    await reached;
    // An agent of another version puts a gate of its own there.
    gate.close();
    const next = new ServiceGate(gateHome as string, clock, { say: () => undefined, heard: () => undefined });
    await vi.waitUntil(() =>
      next.listen([door], { host: hostAt, members: (port) => void expect(port).toBe(members) }).then(
        () => true,
        () => false,
      ),
    );
    gate = next;
    expect((await passing()).proxy).toMatch(/^PROXY/);
    expect(seen.at(-1)).toBe('fine');
  });

  it('where both know each other beforehand what a client says waits for no answer, and is not lost on the way', async () => {
    await passing();
    // Time for those that are made beforehand.
    await new Promise((done) => setTimeout(done, 200));
    const came = once(gitlab, 'connection') as Promise<[Socket]>;
    const bytes = Buffer.alloc(3 << 20, 'abcdefg');
    const client = call();
    client.end(bytes);
    const [inner] = await came;
    sockets.push(inner);
    const up = all(inner);
    await once(inner, 'end');
    expect(up.text.replace(/^PROXY [^\r]+\r\n/, '') === bytes.toString('latin1')).toBe(true);
    const down = all(client);
    inner.end('answer');
    await once(client, 'end');
    expect(down.text).toBe('answer');
  });

  it('a lease that is out cuts what passes, and shows why from any machine', async () => {
    const { client } = await passing();
    const broken = once(client, 'error').catch((error) => [error]);
    await serve({ until: 0, because: 'GitLab moves to zed' });
    expect(await broken).toMatchObject([{ code: 'ECONNRESET' }]);
    expect(await page()).toMatch(/^HTTP\/1.1 503[\s\S]*text\/html[\s\S]*GitLab moves to zed/);
    expect(await page('/a/b.git/info/refs?service=git-upload-pack', 'git/2.39')).toMatch(
      /text\/plain[\s\S]*GitLab moves to zed/,
    );
  });
});

describe('while GitLab is not reached', () => {
  it('people read why, git too, and it is said once the host is back', async () => {
    gate.close();
    await aim();
    expect(await page()).toMatch(/^HTTP\/1.1 503[\s\S]*kang does not answer \(ECONNREFUSED\)/);
    expect(await page('/x.git/info/refs', 'git/2.39')).toMatch(/text\/plain[\s\S]*kang does not answer/);
    expect(seen.at(-1)).toBe('unreached');
  });

  it('nobody hosts: the sentence of the mesh', async () => {
    await aim({ gate: null, because: 'GitLab is being moved' });
    expect(await page()).toMatch(/^HTTP\/1.1 503[\s\S]*GitLab is being moved/);
    // As OpenSSH prints it: behind the exchange of versions.
    const other = new ServiceForwarder(home as string, clock, { say: () => undefined, seen: () => undefined });
    const free = await freePort();
    expect(await other.listen([{ kind: 'ssh', port: free }], otherAt)).toEqual([]);
    const client = call(free);
    let heard = '';
    client.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
    });
    await vi.waitUntil(() => heard === 'SSH-2.0-autogit\r\n');
    client.write('SSH-2.0-OpenSSH_9.2\r\n');
    await vi.waitUntil(() => heard.includes('GitLab is being moved'));
    other.close();
  });

  it('a key that is none any more is said, and a stranger in the place of the gate is told nothing', async () => {
    writeMemberSecret(gateHome as string, process.getuid?.() ?? 0);
    expect(await page()).toMatch(/503[\s\S]*does not know this machine yet/);
    expect(seen.at(-1)).toBe('refused');
    const stranger = await listen();
    const heard: string[] = [];
    stranger.on('connection', (socket) => {
      socket.write(`AUTOGIT-GATE 1 ${'0'.repeat(32)}\n`);
      socket.on('data', (chunk) => {
        heard.push(chunk.toString());
        socket.write(`ok ${'0'.repeat(64)}\n`);
      });
    });
    await aim({ gate: { addresses: [hostAt], port: portOf(stranger), key: Buffer.alloc(32).toString('base64') } });
    expect(await page('/?password=secret')).toMatch(/503[\s\S]*no gate of this mesh/);
    expect(heard.join('')).not.toContain('secret');
    stranger.close();
  });

  it('a key of before is none at once, also on a connection that was proven by it', async () => {
    await passing();
    await new Promise((done) => setTimeout(done, 200));
    writeMemberSecret(gateHome as string, process.getuid?.() ?? 0);
    expect(await page('/of-before')).toMatch(/503[\s\S]*does not know this machine yet/);
    expect(seen.at(-1)).toBe('refused');
    await aim();
    expect((await passing()).proxy).toMatch(/^PROXY/);
  });

  /** Says how often it was asked in which form, and does with each connection what it is told. */
  async function gateThat(hears: (line: string, nonce: string, socket: Socket) => void): Promise<Server> {
    const server = await listen();
    server.on('connection', (socket) => {
      const nonce = newNonce();
      socket.write(greeting(nonce));
      socket.on('data', (chunk) => hears(chunk.toString('latin1'), nonce, socket));
    });
    const key = memberKey(secretOf(), node).toString('base64');
    await aim({ gate: { addresses: [hostAt], port: portOf(server), key } });
    return server;
  }
  const secretOf = (): Buffer => readMemberSecret(gateHome as string) as Buffer;
  const keyOf = (member: string): Buffer => memberKey(secretOf(), member);

  it('a gate of before is asked as it knows it, and takes every client', async () => {
    const asked: string[] = [];
    const older = await gateThat((line, nonce, socket) => {
      asked.push(line.slice(0, 17));
      const heard = heardFrom(line.trimEnd(), nonce, keyOf);
      if (heard === null) socket.end('no key\n');
      else socket.end(`${heard.yes}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`);
    });
    for (let client = 0; client < 4; client++) {
      expect(await page()).toMatch(/^HTTP\/1.1 200/);
      await new Promise((done) => setTimeout(done, 100));
    }
    expect(asked.filter((line) => line === 'AUTOGIT-FORWARD 1')).toHaveLength(4);
    // Those that were made behind the first client, and none since.
    expect(asked.filter((line) => line === 'AUTOGIT-FORWARD 2')).toHaveLength(4);
    expect(seen.at(-1)).toBe('fine');
    older.close();
  });

  it('a gate that ends when it has heard of a client is told nothing twice, and the client reads why', async () => {
    let said = '';
    const dying = await gateThat((line, nonce, socket) => {
      const member = memberIn(line.trimEnd(), nonce, keyOf);
      const heard = heardFrom(line.trimEnd(), nonce, keyOf);
      if (member !== null) return void socket.write(member.yes);
      if (heard !== null) return void socket.end(`${heard.yes}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`);
      said += line;
      if (said.includes('GET /once')) socket.resetAndDestroy();
    });
    expect(await page()).toMatch(/^HTTP\/1.1 200/);
    await new Promise((done) => setTimeout(done, 200));
    expect(await page('/once')).toMatch(/^HTTP\/1.1 503[\s\S]*kang does not answer/);
    expect(said.match(/GET \/once/g)).toHaveLength(1);
    dying.close();
  });

  it('a second address is tried where the first is silent', async () => {
    const secret = readMemberSecret(gateHome as string) as Buffer;
    const key = memberKey(secret, node).toString('base64');
    await aim({ gate: { addresses: ['127.0.0.9', hostAt], port: members, key } });
    expect((await passing()).proxy).toMatch(/^PROXY/);
  });

  it('a port that is taken is said, and the others are listened on', async () => {
    const other = new ServiceForwarder(home as string, clock, { say: () => undefined, seen: () => undefined });
    const free = await freePort();
    const problems = await other.listen([door, { kind: 'ssh', port: free }], otherAt);
    expect(problems).toMatchObject([{ port: door.port, code: 'EADDRINUSE' }]);
    const client = call(free);
    expect(await once(client, 'connect')).toEqual([]);
    other.close();
  });
});

describe('the door for members', () => {
  it.each([
    ['GET / HTTP/1.1\r\n\r\n', ''],
    ['PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\n', 'no key\n'],
    [`AUTOGIT-FORWARD 1 ${node} ${'0'.repeat(32)} 80 10.0.0.1 1 10.0.0.2 80 ${'0'.repeat(64)}\n`, 'no key\n'],
    ['x'.repeat(1000), ''],
  ])('lets nobody in who is none: %s', async (said, answer) => {
    let isReached = false;
    gitlab.on('connection', () => {
      isReached = true;
    });
    const client = call(members, hostAt);
    const got = all(client);
    await once(client, 'data');
    client.write(said);
    await Promise.race([once(client, 'end'), once(client, 'close')]);
    expect([got.text.replace(/^AUTOGIT-GATE 1 [\da-f]{32}\n/, ''), isReached]).toEqual([answer, false]);
  });

  it('whoever was refused is a stranger until he is gone: one address alone has half of their places', async () => {
    const answers = await Promise.all(
      Array.from({ length: 160 }, async () => {
        const client = call(members, hostAt);
        const got = all(client);
        await Promise.race([once(client, 'data'), once(client, 'close')]).catch(() => undefined);
        if (!client.destroyed) client.write('x\n');
        await Promise.race([once(client, 'end'), once(client, 'close')]).catch(() => undefined);
        return got.text.endsWith('no key\n');
      }),
    );
    expect(answers.filter((one) => one)).toHaveLength(128);
  });
});
