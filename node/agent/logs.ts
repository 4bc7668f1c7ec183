import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Run } from '../../protocol/ledger.ts';
import { logFile } from '../log.ts';
import { tailOf } from '../support/log-tail.ts';
import type { TracePiece } from './ended-traces.ts';

const pollMs = 200;
const tailLines = 200;
/** For the machine that runs the job; whoever follows waits for it. */
const patienceMs = 10_000;
const chunkBytes = 256 << 10;
const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  setTimeout(ms, undefined, { signal }).catch(() => undefined);

async function read(file: FileHandle, from: number): Promise<string> {
  const buffer = Buffer.alloc(chunkBytes);
  const { bytesRead } = await file.read(buffer, 0, chunkBytes, from);
  return buffer.toString('utf8', 0, bytesRead);
}

/** This agent's own log: the tail, then (`follow`) what is added. */
export async function* ownLog(home: string, follow: boolean, signal: AbortSignal): AsyncIterable<string> {
  let end = (await stat(logFile(home))).size;
  let text = await tailOf(logFile(home), tailLines);
  yield text;
  while (follow && !signal.aborted) {
    await sleep(pollMs, signal);
    const file = await open(logFile(home), 'r');
    try {
      const { size } = await file.stat();
      if (size < end) end = 0;
      if (size === end) continue;
      text = await read(file, end);
      end += Buffer.byteLength(text);
    } finally {
      await file.close();
    }
    yield text;
  }
}

interface TraceSources {
  /** The run of that job as the ledger or this node knows it; the newest when there were several. */
  run(job: number): Run | null;
  self: NodeId;
  own(run: string, offset: number): Promise<TracePiece | null>;
  ask(node: NodeId, ask: Ask): Promise<Answer>;
  /** GitLab's copy, for a run that has ended. */
  ended(run: Run, offset: number): Promise<TracePiece>;
}

/** A job's trace: from the node that runs it while it runs, from GitLab afterwards. */
export async function* trace(
  job: number,
  follow: boolean,
  sources: TraceSources,
  signal: AbortSignal,
): AsyncIterable<string> {
  let offset = 0;
  let answeredAt = performance.now();
  while (!signal.aborted) {
    const run = sources.run(job);
    if (!run && !follow)
      throw new AutogitError('no-job', `job ${job} has not run in this mesh`, { hint: `autogit-node why ${job}` });
    const piece = run ? await pieceOf(run, offset, sources) : null;
    if (run && !piece && !follow && performance.now() - answeredAt > patienceMs)
      throw new AutogitError('timed-out', `the machine that has the trace of job ${job} does not answer`, {
        hint: `to wait for it: autogit-node logs ${job} -f`,
      });
    if (piece) {
      answeredAt = performance.now();
      if (piece.text !== '') yield piece.text;
      offset = piece.next;
      if (piece.done) return;
      if (!follow && piece.text === '') return;
    }
    if (!piece || piece.text === '') await sleep(pollMs, signal);
  }
}

async function pieceOf(run: Run, offset: number, sources: TraceSources): Promise<TracePiece | null> {
  if (run.node === sources.self) {
    const own = await sources.own(run.run, offset);
    if (own) return own;
  } else if (run.state === 'taken' || run.state === 'running' || run.state === 'finished') {
    const answer = await sources.ask(run.node, { kind: 'trace', run: run.run, offset }).catch(() => null);
    if (answer?.kind === 'trace') return answer;
    return null;
  }
  return sources.ended(run, offset);
}
