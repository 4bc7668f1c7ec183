import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable, type Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { type Child, FarChild } from '../../node/starter/far-child.ts';
import { membersAside, spawnAside } from '../../node/starter/starter.ts';

declare const __STARTER_PROGRAM__: string;
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'autogit-starter-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const env = { PATH: process.env.PATH };
const sh = (script: string, stdio: Parameters<typeof spawnAside>[2]['stdio'] = ['pipe', 'pipe', 'pipe']): Child =>
  spawnAside('/bin/sh', ['-c', script], { stdio, cwd: folder, env });
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

  it('has its input by a line of its own where that is asked for: a message a chunk was four times slower', async () => {
    const lines = () => readdirSync(tmpdir()).filter((name) => name.startsWith('autogit-line-'));
    const before = lines();
    const told = vi.spyOn(FarChild.prototype, 'take');
    const child = sh('cat; echo said >&2; exit 7', ['line', 'line', 'pipe']);
    const bytes = Buffer.from(Array.from({ length: 3_000_001 }, (_, index) => (index * 7) % 251));
    const end = closed(child);
    const [out, said] = [buffer(child.stdout as Readable), buffer(child.stderr as Readable)];
    // Its memory is the writer's again when it says that it was taken.
    const memory = Buffer.alloc(70_000);
    for (let at = 0; at < bytes.length; at += memory.length) {
      const length = bytes.copy(memory, 0, at);
      await new Promise<void>((done) => child.stdin?.write(memory.subarray(0, length), () => done()));
      memory.fill(0xa5);
    }
    child.stdin?.end();
    expect((await out).equals(bytes)).toBe(true);
    expect([String(await said), await end]).toEqual(['said\n', [7, null]]);
    expect(told.mock.calls.map(([{ kind }]) => kind)).not.toContain('written');
    // Who reads little, or nothing, or never begins: its writer hears so, and is not left waiting.
    const few = sh('head -c 10 >/dev/null; exit 3', ['line', 'ignore', 'ignore']);
    const zeros = Readable.from(
      (function* () {
        for (let part = 0; part < 100; part++) yield Buffer.alloc(1 << 20);
      })(),
    );
    const fewEnd = closed(few);
    await expect(pipeline(zeros, few.stdin as Writable)).rejects.toMatchObject({ code: 'EPIPE' });
    expect(await fewEnd).toEqual([3, null]);
    const missing = spawnAside('/nowhere/program', [], { stdio: ['line', 'ignore', 'ignore'], cwd: folder, env });
    const failing = once(missing, 'error');
    const unheard = pipeline(Readable.from([Buffer.alloc(1 << 20)]), missing.stdin as Writable);
    await expect(unheard).rejects.toMatchObject({ code: 'EPIPE' });
    await failing;
    expect(lines()).toEqual(before);
    told.mockRestore();
  });

  it('has its output by a line of its own where that is asked for: no message brings a byte of it', async () => {
    const lines = () => readdirSync(tmpdir()).filter((name) => name.startsWith('autogit-line-'));
    const before = lines();
    const taken = vi.spyOn(FarChild.prototype, 'take');
    const child = sh('cat; echo said >&2; exit 7', ['pipe', 'line', 'pipe']);
    const bytes = Buffer.from(Array.from({ length: 3_000_001 }, (_, index) => (index * 7) % 251));
    const end = closed(child);
    const said = buffer(child.stderr as Readable);
    child.stdin?.end(bytes);
    await sleep(400);
    // Nobody takes it yet.
    expect(child.exitCode).toBeNull();
    expect((await buffer(child.stdout as Readable)).equals(bytes)).toBe(true);
    expect([await end, String(await said)]).toEqual([[7, null], 'said\n']);
    const messages = taken.mock.calls.map(([message]) => message);
    taken.mockRestore();
    expect(messages.filter((one) => one.kind === 'output').map((one) => one.output)).toEqual([2, 2]);
    // One that is not there, one that is ended at once, and one whose output nobody wants.
    const missing = spawnAside('/nowhere/program', [], { stdio: ['ignore', 'line', 'ignore'], cwd: folder, env });
    const nothing = buffer(missing.stdout as Readable);
    await expect(once(missing, 'spawn')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await nothing).toHaveLength(0);
    const killed = sh('exec sleep 100', ['ignore', 'line', 'ignore']);
    killed.kill('SIGKILL');
    expect(await closed(killed)).toEqual([null, 'SIGKILL']);
    const unwanted = sh('exec cat /dev/zero', ['ignore', 'line', 'ignore']);
    // Before its line stands it would not begin at all.
    await once(unwanted, 'spawn');
    unwanted.stdout?.destroy();
    expect(await closed(unwanted)).toEqual([null, 'SIGPIPE']);
    expect(lines()).toEqual(before);
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
    const [missing] = (await once(spawnAside('no-such-program', [], { stdio: 'ignore', env }), 'spawn').catch(
      (error) => [error],
    )) as [NodeJS.ErrnoException];
    expect(missing.code).toBe('ENOENT');
    const lost = spawnAside('/bin/true', [], { stdio: ['ignore', 'pipe', 'pipe'], env, cwd: join(folder, 'none') });
    const outputs = [buffer(lost.stdout as Readable), buffer(lost.stderr as Readable)];
    await expect(once(lost, 'spawn')).rejects.toMatchObject({ code: 'ENOENT' });
    // Who reads them hears of their end.
    expect((await Promise.all(outputs)).map(({ length }) => length)).toEqual([0, 0]);
  });

  it('gets the files that it is given, and no other descriptor', async () => {
    const third = join(folder, 'third');
    writeFileSync(third, 'before\n');
    const mine = openSync('/etc/hostname', 'r');
    const append = { path: third, how: 'append' } as const;
    const child = sh('echo kept >&3; echo and >&4; ls /proc/self/fd | tr "\\n" " "', [
      'ignore',
      'pipe',
      'pipe',
      append,
      append,
    ]);
    const end = closed(child);
    // The last one is of ls itself.
    expect(String(await buffer(child.stdout as Readable))).toBe('0 1 2 3 4 5 ');
    expect(await end).toEqual([0, null]);
    closeSync(mine);
    expect(readFileSync(third, 'utf8')).toBe('before\nkept\nand\n');
  });

  it('whose file is not there is an error, and makes none', async () => {
    const path = join(folder, 'nowhere');
    const child = sh('exit 0', ['ignore', { path, how: 'append' }, 'ignore']);
    await expect(once(child, 'spawn')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(existsSync(path)).toBe(false);
  });

  it('whose starter is lost has ended for whoever waits, and is not taken for a success', async () => {
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
    const child = spawnAside('/bin/sleep', ['60'], { stdio: 'ignore', cwd: folder, env });
    await once(child, 'spawn');
    const end = closed(child);
    // As where no descriptor is free: whatever a look throws.
    await expect(membersAside(null as never, null)).rejects.toThrow();
    expect([child.exitCode, existsSync(`/proc/${child.pid}`)]).toEqual([null, true]);
    child.kill('SIGKILL');
    expect(await end).toEqual([null, 'SIGKILL']);
  });
});

describe('the process that starts programs', () => {
  /** Of this test: an agent of its own, which says the pid of its starter and then what `script` says. */
  const agent = (script: string) => {
    const file = join(folder, `agent-${++agents}.mjs`);
    buildSync({
      stdin: {
        contents: `import { once } from 'node:events'; import { spawnAside } from './node/starter/starter.ts';
          const start = async () => { const child = spawnAside('/bin/sleep', ['60'], { stdio: 'ignore', cwd: '/' }); await once(child, 'spawn'); return child; };
          const parentOf = (pid) => Number(readFileSync('/proc/' + pid + '/stat', 'latin1').split(') ')[1].split(' ')[1]);
          import { readFileSync } from 'node:fs';
          ${script}`,
        resolveDir: root,
        loader: 'ts',
      },
      outfile: file,
      bundle: true,
      platform: 'node',
      format: 'esm',
      define: { __STARTER_PROGRAM__: JSON.stringify(__STARTER_PROGRAM__) },
    });
    // A group of its own, as a terminal gives it.
    return spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  };
  let agents = 0;
  const linesOf = (child: ChildProcess) => createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]();
  const lives = (pid: number): boolean =>
    existsSync(`/proc/${pid}`) && !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  const next = async (lines: AsyncIterator<string>) => ((await lines.next()).value as string).split(' ').map(Number);

  it('makes them itself: no fork holds the memory map of the agent, whose threads would wait for it', async () => {
    const child = spawnAside('/bin/sleep', ['60'], { stdio: 'ignore', cwd: folder, env });
    await once(child, 'spawn');
    const end = closed(child);
    const [, rest = ''] = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ');
    const parent = Number(rest.split(' ')[1]);
    expect(parent).not.toBe(process.pid);
    expect(readFileSync(`/proc/${parent}/comm`, 'utf8')).toBe('autogit-starter\n');
    child.kill('SIGKILL');
    await end;
  });

  it('outlives a Ctrl-C that reaches the group, ends with its agent, and leaves what it began', async () => {
    const asked = agent(`process.on('SIGINT', async () => { const more = await start(); console.log(more.pid); });
      const child = await start(); console.log(parentOf(child.pid) + ' ' + child.pid); setInterval(() => {}, 1000);`);
    const lines = linesOf(asked);
    const [starter = 0, first = 0] = await next(lines);
    process.kill(-(asked.pid as number), 'SIGINT');
    // The first had no group of its own: the Ctrl-C was for it too.
    const [second = 0] = await next(lines);
    expect([lives(starter), lives(second)]).toEqual([true, true]);
    asked.kill('SIGKILL');
    await expect.poll(() => lives(starter)).toBe(false);
    expect([lives(first), lives(second)]).toEqual([false, true]);
    process.kill(second, 'SIGKILL');
  });

  it('keeps no agent alive that waits for nothing of it; one that was killed is replaced', async () => {
    const asked = agent(`const child = await start(); const lost = once(child, 'close');
      const starter = parentOf(child.pid); process.kill(starter, 'SIGKILL'); const [code] = await lost;
      const other = await start(); console.log(code + ' ' + (parentOf(other.pid) !== starter ? 1 : 0)); process.kill(child.pid); other.unref(); process.kill(other.pid);`);
    const ended = once(asked, 'exit');
    expect(await next(linesOf(asked))).toEqual([-1, 1]);
    expect((await ended)[0]).toBe(0);
  });
});
