import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { type Child, FarChild } from '../../node/starter/far-child.ts';
import { membersAside, spawnAside } from '../../node/starter/starter.ts';

const folder = mkdtempSync(join(tmpdir(), 'autogit-starter-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sh = (script: string, stdio: Parameters<typeof spawnAside>[2]['stdio'] = ['pipe', 'pipe', 'pipe']): Child =>
  spawnAside('/bin/sh', ['-c', script], { stdio, cwd: folder });
const closed = async (child: Child): Promise<[number | null, string | null]> => {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return [code, signal];
};

describe('a program that is started aside', () => {
  it('has its streams byte for byte, its code, and what it says beside', async () => {
    const child = sh('cat; echo said >&2; exit 7');
    const bytes = Buffer.from(Array.from({ length: 3_000_001 }, (_, index) => (index * 7) % 251));
    const end = closed(child);
    const [out, said] = [buffer(child.stdout as Readable), buffer(child.stderr as Readable)];
    for (let at = 0; at < bytes.length; at += 70_000) child.stdin?.write(bytes.subarray(at, at + 70_000));
    child.stdin?.end();
    expect((await out).equals(bytes)).toBe(true);
    expect(String(await said)).toBe('said\n');
    expect(await end).toEqual([7, null]);
    expect([child.exitCode, child.signalCode]).toEqual([7, null]);
  });

  it('waits for a reader who is slow: what nobody takes is not read', async () => {
    const child = sh('head -c 20000000 /dev/zero; : > written', ['ignore', 'pipe', 'ignore']);
    const end = closed(child);
    child.stdout?.once('readable', () => undefined);
    await sleep(400);
    expect(existsSync(join(folder, 'written'))).toBe(false);
    expect((await buffer(child.stdout as Readable)).length).toBe(20_000_000);
    expect(await end).toEqual([0, null]);
  });

  it('hands over all that a child left behind which has ended, to a reader who is slow', async () => {
    const child = sh('head -c 3000000 /dev/zero & head -c 640000 /dev/zero', ['ignore', 'pipe', 'ignore']);
    const end = closed(child);
    let length = 0;
    for await (const chunk of child.stdout as Readable) {
      if (length === 0) await sleep(300);
      length += (chunk as Buffer).length;
    }
    expect(length).toBe(3_640_000);
    expect(await end).toEqual([0, null]);
  });

  it('is ended by a signal, also by one that comes before it is there; more than its input it does not take', async () => {
    // One program: a shell that has begun another by then leaves it behind with the pipes.
    const child = sh('exec sleep 60');
    expect(child.pid).toBeUndefined();
    expect(child.kill('SIGKILL')).toBe(true);
    expect(await closed(child)).toEqual([null, 'SIGKILL']);
    expect(child.kill('SIGKILL')).toBe(false);
    const other = sh('exec 0<&-; sleep 0.3; exit 3');
    const end = closed(other);
    await once(other, 'spawn');
    await sleep(100);
    const refused = await new Promise<unknown>((done) => other.stdin?.write(Buffer.alloc(1 << 20), done));
    expect(refused).toMatchObject({ code: 'EPIPE' });
    expect(await end).toEqual([3, null]);
  });

  it('that is not there, or has no folder, is an error', async () => {
    const [missing] = (await once(spawnAside('no-such-program', [], { stdio: 'ignore' }), 'spawn').catch((error) => [
      error,
    ])) as [NodeJS.ErrnoException];
    expect(missing.code).toBe('ENOENT');
    const lost = spawnAside('/bin/true', [], { stdio: ['ignore', 'pipe', 'pipe'], cwd: join(folder, 'none') });
    const outputs = [buffer(lost.stdout as Readable), buffer(lost.stderr as Readable)];
    await expect(once(lost, 'spawn')).rejects.toMatchObject({ code: 'ENOENT' });
    // Who reads them hears of their end.
    expect((await Promise.all(outputs)).map(({ length }) => length)).toEqual([0, 0]);
  });

  it('gets the descriptors that it is given, and no other', async () => {
    const third = openSync(join(folder, 'third'), 'w');
    const mine = openSync('/etc/hostname', 'r');
    const child = sh('echo kept >&3; ls /proc/self/fd | tr "\\n" " "', ['ignore', 'pipe', 'pipe', third]);
    await once(child, 'spawn');
    closeSync(third);
    const end = closed(child);
    // The last one is of ls itself.
    expect(String(await buffer(child.stdout as Readable))).toBe('0 1 2 3 4 ');
    expect(await end).toEqual([0, null]);
    closeSync(mine);
    expect(readFileSync(join(folder, 'third'), 'utf8')).toBe('kept\n');
  });

  it('whose thread is lost has ended for whoever waits, and is not taken for a success', async () => {
    const child = new FarChild(
      1,
      ['ignore', 'pipe', 'pipe'],
      () => undefined,
      () => undefined,
    );
    child.take({ kind: 'started', id: 1, pid: 4711 });
    const end = closed(child);
    child.lose(new Error('gone'));
    expect(await end).toEqual([-1, null]);
    const early = new FarChild(
      2,
      ['ignore'],
      () => undefined,
      () => undefined,
    );
    const failed = once(early, 'spawn').catch((error: Error) => error.message);
    early.lose(new Error('gone'));
    expect(await failed).toBe('gone');
  });
});

describe('a look for the processes of a run', () => {
  it('finds those, and none when they have ended', async () => {
    // In a session of its own, as the steps of a run are.
    const child = spawnAside('/bin/sleep', ['60'], {
      stdio: 'ignore',
      cwd: folder,
      detached: true,
      env: { RUN: folder },
    });
    await once(child, 'spawn');
    const end = closed(child);
    const marks = { entries: [`RUN=${folder}`], places: [], uid: -1, isUidAlone: false };
    await expect.poll(() => membersAside(marks, null)).toEqual([{ pid: child.pid }]);
    child.kill('SIGKILL');
    await end;
    expect(await membersAside(marks, null)).toEqual([]);
  });

  it('that fails is an error for who asked, and nothing to the programs that run', async () => {
    const child = spawnAside('/bin/sleep', ['60'], { stdio: 'ignore', cwd: folder });
    await once(child, 'spawn');
    const end = closed(child);
    // As where no descriptor is free: whatever a look throws.
    await expect(membersAside(null as never, null)).rejects.toThrow();
    expect([child.exitCode, existsSync(`/proc/${child.pid}`)]).toEqual([null, true]);
    child.kill('SIGKILL');
    expect(await end).toEqual([null, 'SIGKILL']);
  });
});
