import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Gift, Round, RoundGiver, RoundSource } from '../../node/hosting/replica/replica-ports.ts';
import { RoundRefused } from '../../node/hosting/replica/replica-problem.ts';
import { openCopyDoor } from '../../node/hosting/wire/copy-door.ts';
import { GiveLine } from '../../node/hosting/wire/give-line.ts';
import { RateLimit } from '../../node/hosting/wire/polite-sender.ts';
import { Turns } from '../../node/hosting/wire/turns.ts';

/** A round on its way back to the host, over TCP and TLS; both ends' disks are the test's memory. */
const MiB = 1 << 20;
const name = { era: 1, epoch: 1, number: 7 };
const round: Round = { part: 'hot', name, atMs: 5, wallMs: 6, uuid: 'u-7', parent: null };
const asked = { part: 'hot', name, has: [] } as const;
const bytes = randomBytes(8 * MiB);

class MemoryGiver implements RoundGiver {
  source: () => RoundSource | null = () => sourceOf(Readable.from([bytes]));
  /** Those on their way, and how often one was. */
  readonly underWay = new Set<Gift>();
  gone = 0;

  dated = async () => [{ name, wallMs: 6, version: '19.4.1' }];

  async give(_part: string, wanted: { number: number }): Promise<Gift> {
    if (wanted.number !== name.number) throw new Error('round 1-1-8 is not here, or was thinned');
    const gift = { round, source: this.source() };
    this.underWay.add(gift);
    return gift;
  }

  given(gift: Gift): void {
    this.underWay.delete(gift);
    this.gone += 1;
  }
}

const sourceOf = (stream: Readable, done: Promise<void> = once(stream, 'end').then(() => {})): RoundSource => {
  const ended = Promise.race([done, once(stream, 'close').then(() => {})]);
  for (const one of [done, ended]) one.catch(() => {});
  stream.on('error', () => {});
  return { stream, done: ended, end: () => void stream.destroy() };
};

const taker = { held: async () => [{ name, uuid: 'u-7' }], take: async () => {} };
let giver: MemoryGiver;
let open: AbortController;
let line: GiveLine;
/** Between the two: where it is cut. */
let between: Socket[];
let gives = true;

beforeEach(() => {
  [giver, open, between, gives] = [new MemoryGiver(), new AbortController(), [], true];
  line = new GiveLine(async () => {
    const giving = { giver, turns: new Turns(), limit: new RateLimit(null) };
    const door = await openCopyDoor(taker, open.signal, gives ? giving : null);
    const way = createServer((from) => {
      const to = connect(door.port, '127.0.0.1');
      between.push(from, to);
      for (const end of [from, to]) end.on('error', () => {}).on('close', () => [from, to].map((one) => one.destroy()));
      from.pipe(to).pipe(from);
      way.close();
    }).listen(0, '127.0.0.1');
    await once(way, 'listening');
    return { ...door, host: '127.0.0.1', port: (way.address() as AddressInfo).port };
  });
});
afterEach(() => open.abort());

const given = AbortSignal.timeout(20_000);
const got: Buffer[] = [];
const intoMemory = async (_round: Round, { stream, done }: RoundSource): Promise<void> => {
  const all = await buffer(stream);
  await done;
  got.push(all);
};

it('comes whole, and the other machine lets go of it once it is on the disk here', async () => {
  expect(await line.dated(given)).toEqual([{ name, wallMs: 6, version: '19.4.1' }]);
  got.length = 0;
  let wasHeld = 0;
  await line.bring(asked, given, async (of, source) => {
    expect(of).toEqual(round);
    await intoMemory(of, source);
    // All of it has arrived, and it is not on the disk yet.
    wasHeld = giver.underWay.size;
  });
  expect([wasHeld, got[0]?.equals(bytes)]).toEqual([1, true]);
  await expect.poll(() => giver.underWay.size).toBe(0);
});

it('what is here already is not sent', async () => {
  giver.source = () => null;
  expect(await line.bring(asked, given, () => Promise.reject(new Error('sent')))).toBe(false);
});

it('one that gives none says so, an earlier version and one that has it no more', async () => {
  const eight = { ...asked, name: { ...name, number: 8 } };
  await expect(line.bring(eight, given, intoMemory)).rejects.toThrow(
    new RoundRefused('round 1-1-8 is not here, or was thinned'),
  );
  gives = false;
  await expect(line.dated(given)).rejects.toThrow(/an earlier version, which gives no rounds back: update it/);
});

it('cut off in the midst, or its sender failed: no round, and nothing is held for it any more', async () => {
  const cut = line.bring(asked, given, async (_of, { stream, done }) => {
    for await (const _piece of stream) for (const end of between) end.destroy();
    await done;
  });
  await expect(cut).rejects.toThrow(/it was cut off|hung up|ECONNRESET|aborted|closed/);
  await expect.poll(() => [giver.underWay.size, giver.gone]).toEqual([0, 1]);
  giver.source = () => sourceOf(Readable.from([bytes]), Promise.reject(new Error('btrfs send failed')));
  // What it says of its end may come with the end of its line.
  await expect(line.bring(asked, given, intoMemory)).rejects.toThrow(/it broke the round off|it was cut off/);
  await expect.poll(() => [giver.underWay.size, giver.gone]).toEqual([0, 2]);
});

it('a disk here that takes none of it gives it up at once, and so does an agent that ends', async () => {
  const full = line.bring(asked, given, () => Promise.reject(new Error('the disk is full')));
  await expect(full).rejects.toThrow('the disk is full');
  await expect.poll(() => [giver.underWay.size, giver.gone]).toEqual([0, 1]);
  const ends = new AbortController();
  const ended = line.bring(asked, ends.signal, async (_of, { stream, done }) => {
    ends.abort();
    await buffer(stream);
    await done;
  });
  await expect(ended).rejects.toThrow();
  await expect.poll(() => [giver.underWay.size, giver.gone]).toEqual([0, 2]);
});
