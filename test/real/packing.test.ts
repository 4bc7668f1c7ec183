import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { madeEntry, writeTar } from '../../node/executors/tar-format.ts';
import type { TreeRead } from '../../node/ports.ts';
import { packAside } from '../../node/runs/packing.ts';

const folder = mkdtempSync(join(tmpdir(), 't-files-pack-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const request = {
  paths: ['**'],
  exclude: [],
  format: 'zip',
  projectDir: '/p',
  file: join(folder, 'packed'),
  limitBytes: 1 << 30,
} as const;
const asked = (more: object) => ({ ...request, paths: [...request.paths], exclude: [], ...more });
const read = (bytes: AsyncIterable<Uint8Array>, close = (): void => undefined): TreeRead => ({
  bytes,
  complaint: async () => '',
  close,
});

describe('packing beside the event loop', () => {
  it('hostile patterns on many names take no turn of it (security A2)', async () => {
    const name = `${'a'.repeat(250)}/`.repeat(15);
    const names = Buffer.from(Array.from({ length: 1000 }, (_, index) => `${name}${index}\0`).join(''));
    async function* bytes(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < names.length; at += 65_536) yield names.subarray(at, at + 65_536);
    }
    const paths = Array.from({ length: 20 }, (_, index) => `**/${'*a'.repeat(30)}*${index}b`);
    const cpu = process.cpuUsage();
    const began = performance.eventLoopUtilization();
    const source = { list: async () => read(bytes()), read: async () => read(bytes()) };
    const packed = await packAside(source, asked({ paths }), new AbortController().signal);
    const used = performance.eventLoopUtilization(began);
    const { user } = process.cpuUsage(cpu);
    expect(packed.count).toBe(0);
    // The work was there (a core's worth), and not in this thread.
    expect(user).toBeGreaterThan(400_000);
    expect(used.active).toBeLessThan(user / 1000 / 2);
  });

  it('ends at once when the signal says so, also in a stream that gives nothing', async () => {
    const stop = new AbortController();
    let isClosed = false;
    async function* stuck(): AsyncGenerator<Uint8Array> {
      await sleep(60_000);
      yield Buffer.alloc(1);
    }
    const source = {
      list: async () =>
        read(stuck(), () => {
          isClosed = true;
        }),
      read: async () => read(stuck()),
    };
    const packing = packAside(source, asked({}), stop.signal);
    setTimeout(() => stop.abort(new Error('the job was cancelled')), 200);
    const began = performance.now();
    await expect(packing).rejects.toThrow('the job was cancelled');
    expect(performance.now() - began).toBeLessThan(3000);
    expect(isClosed).toBe(true);
  });

  it("an error of the source is the packing's, with its words", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a\0');
      throw new Error('the engine went away');
    }
    const source = { list: async () => read(broken()), read: async () => read(broken()) };
    await expect(packAside(source, asked({}), new AbortController().signal)).rejects.toThrow('the engine went away');
    const tar = writeTar([madeEntry('a', { content: 'A' })]);
    const good = {
      list: async () =>
        read(
          (async function* () {
            yield Buffer.from('a\0');
          })(),
        ),
      read: async () => read(tar),
    };
    expect(await packAside(good, asked({}), new AbortController().signal)).toMatchObject({ count: 1 });
  });
});
