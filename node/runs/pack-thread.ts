import { parentPort, workerData } from 'node:worker_threads';
import type { TreeRead } from '../ports.ts';
import { packArtifact } from './artifact-pack.ts';
import type { FromThread, ToThread } from './pack-thread-messages.ts';
import { PackProblem } from './spool-file.ts';

/**
 * The thread that packs one artifact, so that no pattern, name or byte of a job takes time from the agent's event loop.
 * The job's tree stays with the agent: what is read comes over in chunks, each asked for. deploy/bundle.mjs builds this
 * file on its own and puts its text into the agent.
 */
const port = parentPort;
if (port === null) throw new Error('pack-thread.ts is the start of a thread');
/** How many chunks are on their way at once. */
const ahead = 4;
const say = (message: FromThread): void => port.postMessage(message);

let opened = 0;
const waiting = new Map<number, (answer: ToThread) => void>();
const early = new Map<number, ToThread[]>();
port.on('message', (answer: ToThread) => {
  const take = waiting.get(answer.id);
  if (take === undefined) early.get(answer.id)?.push(answer);
  else {
    waiting.delete(answer.id);
    take(answer);
  }
});
const next = (id: number): Promise<ToThread> => {
  const held = early.get(id)?.shift();
  return held === undefined ? new Promise((resolve) => waiting.set(id, resolve)) : Promise.resolve(held);
};

async function open(ask: { what: 'list' | 'read'; names: Uint8Array | null; roots: string[] }): Promise<TreeRead> {
  const id = ++opened;
  early.set(id, []);
  let complaint = '';
  say({ kind: 'open', id, ...ask });
  for (let count = 0; count < ahead; count++) say({ kind: 'pull', id, buffer: null });
  async function* bytes(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const answer = await next(id);
        if (answer.error !== null) throw new Error(answer.error);
        if (answer.chunk === null) {
          complaint = answer.complaint;
          return;
        }
        const { buffer } = answer.chunk;
        yield answer.chunk;
        // Whoever asks for the next one is done with this: it goes back, and no view of it is left.
        port?.postMessage({ kind: 'pull', id, buffer } satisfies FromThread, [buffer]);
      }
    } finally {
      early.delete(id);
      say({ kind: 'close', id });
    }
  }
  return { bytes: bytes(), complaint: async () => complaint, close: () => say({ kind: 'close', id }) };
}

packArtifact(
  {
    list: (roots) => open({ what: 'list', names: null, roots }),
    read: (names, roots) => open({ what: 'read', names, roots }),
  },
  workerData,
).then(
  (packed) => say({ kind: 'done', packed }),
  (error: Error) =>
    say({ kind: 'failed', message: error.message, problem: error instanceof PackProblem ? error.isJobs : null }),
);
