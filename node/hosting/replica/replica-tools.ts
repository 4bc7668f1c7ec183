import { PassThrough, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { spawnClean } from '../../clean-spawn.ts';
import { systemTools, toolEnv, toolLimitMs } from '../system-tools.ts';
import type { ReplicaTools, RoundSource } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';

/** What the program said is most of what a person needs to know: the last lines of it go into the sentence. */
function failed(file: string, args: readonly string[], code: number | null, said: string): ReplicaProblem {
  const words = said.trim().split('\n').slice(-3).join('; ').slice(0, 300);
  const how = code === null ? 'was ended by a signal' : `failed with exit code ${code}`;
  return new ReplicaProblem(`${file} ${args[0]} ${how}: ${words}`, 'look at the disk: df -h; dmesg | tail');
}

function watched(file: string, args: readonly string[], stdio: ['pipe' | 'ignore', 'pipe' | 'ignore', 'pipe']) {
  const child = spawnClean(file, args, { stdio, env: toolEnv });
  let said = '';
  child.stderr?.on('data', (data) => {
    said = `${said}${data}`.slice(-2000);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), toolLimitMs);
  const done = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(failed(file, args, code, said));
    });
  });
  // Whoever is interested awaits it; a sender that is ended on purpose must not end the agent.
  done.catch(() => {});
  return { child, done };
}

/** The real ones, those of the rounds' streams with them. */
export const replicaTools: ReplicaTools = {
  ...systemTools,
  read(file, args): RoundSource {
    const { child, done } = watched(file, args, ['ignore', 'pipe', 'pipe']);
    // Node throws away what nobody has begun to read when a child ends: a short difference whose reader comes late would be empty.
    const stream = (child.stdout as Readable).pipe(new PassThrough());
    return { stream, done, end: () => child.kill('SIGKILL') };
  },
  async feed(file, args, stream) {
    const { child, done } = watched(file, args, ['pipe', 'ignore', 'pipe']);
    // A receiver that gives up closes its input first; its own words are the better reason.
    const fed = pipeline(stream, child.stdin as Writable).then(
      () => null,
      (error: Error) => error,
    );
    await done;
    const broken = await fed;
    if (broken) throw broken;
  },
};
