import { expect, it } from 'vitest';
import { StreamGuard } from '../../node/hosting/replica/stream-guard.ts';

const own = '11111111-2222-3333-4444-555555555555';
const parent = '66666666-7777-8888-9999-aaaaaaaaaaaa';
const hex = (uuid: string): Buffer => Buffer.from(uuid.replaceAll('-', ''), 'hex');

const attribute = (type: number, value: Buffer | string): Buffer => {
  const body = Buffer.from(value);
  const head = Buffer.alloc(4);
  head.writeUInt16LE(type, 0);
  head.writeUInt16LE(body.length, 2);
  return Buffer.concat([head, body]);
};
const command = (kind: number, ...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(10);
  head.writeUInt32LE(body.length, 0);
  head.writeUInt16LE(kind, 4);
  return Buffer.concat([head, body]);
};
const stream = (version: number, ...parts: Buffer[]): Buffer => {
  const head = Buffer.concat([Buffer.from('btrfs-stream\0', 'latin1'), Buffer.alloc(4)]);
  head.writeUInt32LE(version, 13);
  return Buffer.concat([head, ...parts]);
};
const end = command(21);
const whole = command(1, attribute(15, 'hot'), attribute(1, hex(own)));
const difference = (from = parent): Buffer =>
  command(2, attribute(15, 'hot'), attribute(1, hex(own)), attribute(20, hex(from)));
const file = (path: string): Buffer => command(3, attribute(15, path));

/** What comes out of it; throws what it was stopped for. In pieces, as a connection brings it. */
async function through(bytes: Buffer, parentUuid: string | null = null, piece = 7): Promise<Buffer> {
  const guard = new StreamGuard({ name: 'hot', uuid: own, parentUuid });
  const out: Buffer[] = [];
  guard.on('data', (data) => out.push(data));
  const over = new Promise<void>((resolve, reject) => guard.once('end', resolve).once('error', reject));
  for (let at = 0; at < bytes.length; at += piece) guard.write(bytes.subarray(at, at + piece));
  guard.end();
  await over;
  return Buffer.concat(out);
}

it('lets a round through byte by byte as it is, in whichever pieces it comes', async () => {
  const data = Buffer.concat([Buffer.from([19, 0]), Buffer.alloc(500, 'x')]);
  const link = command(8, attribute(15, 'link'), attribute(17, '/etc/passwd'));
  const bytes = stream(
    2,
    whole,
    command(20, attribute(15, '')),
    file('a/..b'),
    link,
    command(15, attribute(15, 'a/..b'), data),
    end,
  );
  for (const piece of [1, 7, 64, bytes.length]) expect(await through(bytes, null, piece)).toEqual(bytes);
  const step = stream(
    1,
    difference(),
    command(16, attribute(15, 'b'), attribute(20, hex(parent)), attribute(22, 'a')),
    end,
  );
  expect(await through(step, parent)).toEqual(step);
});

it.each([
  ['no stream of btrfs', Buffer.from('#!/bin/sh\nrm -rf /\n')],
  ['of version 3', stream(3, whole, end)],
  ['another name', stream(2, command(1, attribute(15, '../hot'.slice(3, 5)), attribute(1, hex(own))), end)],
  ['another round than it was called', stream(2, command(1, attribute(15, 'hot'), attribute(1, hex(parent))), end)],
  ['no whole copy', stream(2, difference(), end)],
  ['not one subvolume', stream(2, whole, whole, end)],
  ['not one subvolume', stream(2, file('a'), end)],
  ['leads out of its folder', stream(2, whole, file('/etc/cron.d/x'), end)],
  ['leads out of its folder', stream(2, whole, file('a/../../x'), end)],
  [
    'leads out of its folder',
    stream(2, whole, command(10, attribute(15, 'a'), attribute(17, '../../etc/shadow')), end),
  ],
  [
    'a subvolume that was not named',
    stream(2, whole, command(16, attribute(15, 'b'), attribute(20, hex(parent))), end),
  ],
  ['a command 99', stream(2, whole, command(99), end)],
  ['longer than its command', stream(2, whole, command(3, Buffer.from([15, 0, 255, 0, 1])), end)],
  ['goes on after its end', stream(2, whole, end, file('a'))],
  ['ends in the midst', stream(2, whole, file('a')).subarray(0, -2)],
  ['ends in the midst', stream(2, whole, file('a'))],
])('stops one: %s', async (why, bytes) => {
  await expect(through(bytes)).rejects.toThrow(why);
});

it('stops a command without an end in sight, and a difference to another parent', async () => {
  const endless = command(15);
  endless.writeUInt32LE(0x7fffffff, 0);
  await expect(through(stream(2, whole, endless))).rejects.toThrow('2147483647 bytes');
  await expect(through(stream(2, difference(own), end), parent)).rejects.toThrow('another parent');
  await expect(through(stream(2, whole, end), parent)).rejects.toThrow('no difference');
});

it('a long command in the smallest pieces costs no more than it is long', async () => {
  const data = Buffer.concat([Buffer.from([19, 0]), Buffer.alloc((1 << 20) - 100)]);
  const bytes = stream(2, whole, command(15, attribute(15, 'a'), data), end);
  const began = process.cpuUsage().user;
  expect((await through(bytes, null, 16)).equals(bytes)).toBe(true);
  expect((process.cpuUsage().user - began) / 1000).toBeLessThan(1000);
});

it('looks at the room again as it comes, and stops when there is none: nobody said how long it would be', async () => {
  let looks = 0;
  const guard = new StreamGuard({ name: 'hot', uuid: own, parentUuid: null }, async () => {
    if (++looks === 3) throw new Error('full: no room for another round');
  });
  let out = 0;
  guard.on('data', (data) => (out += data.length));
  const over = new Promise<void>((resolve, reject) => guard.once('end', resolve).once('error', reject));
  over.catch(() => {});
  const data = Buffer.concat([Buffer.from([19, 0]), Buffer.alloc((1 << 20) - 100)]);
  const piece = command(15, attribute(15, 'a'), data);
  guard.write(stream(2, whole));
  for (let at = 0; at < 100 && !guard.destroyed; at++)
    if (!guard.write(piece)) await new Promise((done) => guard.once('drain', done).once('close', done));
  await expect(over).rejects.toThrow('full: no room');
  expect(guard.refused?.message).toContain('full: ');
  expect(out).toBeLessThan(52 << 20);
});
