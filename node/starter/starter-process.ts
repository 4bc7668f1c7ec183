import type { ChildProcess } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { membersOf } from '../executors/run-members.ts';
import { spawnWithFiles } from './child-files.ts';
import { type ChildLine, chunksAhead, type FromStarter, type OutputFd, type ToStarter } from './starter-messages.ts';

/**
 * The process in which a job's programs are started, and looked for among all that run here. A fork of the agent takes 2 to 5 ms, and
 * whichever thread of it forks, all others wait at their next page fault, for the memory map is the kernel's meanwhile; a look takes
 * about as long. What goes through the pipes comes over in chunks. deploy/bundle.mjs builds this file on its own and puts its text
 * into the agent, which sends it here: a newer version that is installed meanwhile speaks to no older agent.
 */
process.title = 'autogit-starter';
const say = (message: FromStarter): void => {
  // The agent is gone: so is this in a moment.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
};
process.once('disconnect', () => process.exit(0));
// A Ctrl-C reaches the whole group: what it means is the agent's to say, and then it ends this by its own end.
for (const name of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.on(name, () => undefined);

const children = new Map<number, ChildProcess>();
/** Of a child that has to have its lines first: what it was sent meanwhile. */
const coming = new Map<number, ToStarter[]>();
/** Chunks on their way, of an output that is followed. */
const ahead = new Map<string, number>();

const streamOf = (id: number, output: OutputFd): Readable | null | undefined =>
  output === 1 ? children.get(id)?.stdout : children.get(id)?.stderr;

type Start = Extract<ToStarter, { kind: 'start' }>;

/** A child whose input or output has a line of its own begins when all of these stand. */
function startOnLines(paths: readonly string[], message: Start): void {
  const { id } = message;
  coming.set(id, []);
  // Paused: what comes is the child's, not a byte of it is read here.
  const lines = new Map(paths.map((path) => [path, connect(path).pause()]));
  const go = (begin: () => void): void => {
    const held = coming.get(id) ?? [];
    coming.delete(id);
    begin();
    for (const each of held) take(each);
    // The child has them by now, or there is none.
    for (const line of lines.values()) line.destroy();
  };
  let left = lines.size;
  for (const line of lines.values()) {
    line.once('connect', () => {
      left -= 1;
      if (left === 0 && coming.has(id)) go(() => start(message, lines));
    });
    line.on('error', ({ message: because }) => {
      if (coming.has(id)) go(() => say({ kind: 'failed', id, message: because, code: undefined }));
    });
  }
}

function start({ id, file, args, options }: Start, lines?: ReadonlyMap<string, Socket>): void {
  let child: ChildProcess;
  const fail = ({ message, code }: NodeJS.ErrnoException): void => {
    children.delete(id);
    say({ kind: 'failed', id, message, code });
  };
  try {
    child = spawnWithFiles(file, args, options, lines);
  } catch (error) {
    return fail(error as Error);
  }
  children.set(id, child);
  let isStarted = false;
  child.once('spawn', () => {
    isStarted = true;
    say({ kind: 'started', id, pid: child.pid as number });
  });
  // Later ones are of a signal that could not be sent.
  child.on('error', (error) => {
    if (!isStarted) fail(error);
  });
  child.once('exit', (code, signal) => say({ kind: 'exited', id, code, signal }));
  child.once('close', () => children.delete(id));
  child.stdin?.on('error', () => undefined);
  for (const output of [1, 2] as const) follow(id, output);
}

function follow(id: number, output: OutputFd): void {
  const stream = streamOf(id, output);
  if (!stream) return;
  const key = `${id} ${output}`;
  ahead.set(key, 0);
  stream.on('data', (bytes: Buffer) => {
    const sent = (ahead.get(key) ?? 0) + 1;
    ahead.set(key, sent);
    if (sent >= chunksAhead) stream.pause();
    say({ kind: 'output', id, output, bytes });
  });
  stream.on('error', () => undefined);
  stream.once('close', () => {
    ahead.delete(key);
    say({ kind: 'output', id, output, bytes: null });
  });
}

function taken(id: number, output: OutputFd, count: number): void {
  const key = `${id} ${output}`;
  const left = (ahead.get(key) ?? 0) - count;
  if (!ahead.has(key)) return;
  ahead.set(key, left);
  if (left < chunksAhead) streamOf(id, output)?.resume();
}

function write(id: number, bytes: Uint8Array | null): void {
  const stdin = children.get(id)?.stdin;
  const answer = (error?: Error | null): void =>
    say({ kind: 'written', id, error: error ? { message: error.message, code: 'EPIPE' } : null });
  if (!stdin || stdin.destroyed) answer(new Error('write EPIPE'));
  else if (bytes === null) stdin.end(answer);
  else stdin.write(bytes, answer);
}

function take(message: ToStarter): void {
  const { id } = message;
  const held = coming.get(id);
  if (held) held.push(message);
  else if (message.kind === 'start') {
    const isLine = (one: unknown): one is ChildLine => typeof one === 'object' && one !== null && 'line' in one;
    const paths = message.options.stdio.filter(isLine).map(({ line }) => line);
    if (paths.length > 0) startOnLines(paths, message);
    else start(message);
  } else if (message.kind === 'taken') taken(id, message.output, message.count);
  else if (message.kind === 'unwanted') streamOf(id, message.output)?.destroy();
  else if (message.kind === 'write') write(id, message.bytes);
  else if (message.kind === 'kill') children.get(id)?.kill(message.signal);
  else {
    try {
      say({ kind: 'found', id, members: membersOf(message.marks, message.cgroup, message.seen) });
    } catch (error) {
      say({ kind: 'found', id, members: [], error: (error as Error).message });
    }
  }
}
process.on('message', take);
