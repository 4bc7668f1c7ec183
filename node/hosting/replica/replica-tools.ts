import { type Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { spawnClean } from '../../clean-spawn.ts';
import { systemTools, toolEnv } from '../system-tools.ts';
import type { ReplicaTools, RoundSource } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';

/** What the program said is most of what a person needs to know: the last lines of it go into the sentence. */
function failed(file: string, args: readonly string[], code: number | null, said: string): ReplicaProblem {
  const words = said.trim().split('\n').slice(-3).join('; ').slice(0, 300);
  const how = code === null ? 'was ended by a signal' : `failed with exit code ${code}`;
  return new ReplicaProblem(`${file} ${args[0]} ${how}: ${words}`, 'look at the disk: df -h; dmesg | tail');
}

/** Nothing of a stream moved for so long. How long all of it takes nobody knows: a whole copy takes hours. */
const stallMs = 120_000;

function watched(file: string, args: readonly string[], stdio: ['pipe' | 'ignore', 'pipe' | 'ignore', 'pipe']) {
  const child = spawnClean(file, args, { stdio, env: toolEnv });
  let said = '';
  child.stderr?.on('data', (data) => {
    said = `${said}${data}`.slice(-2000);
  });
  const stall = setTimeout(() => child.kill('SIGKILL'), stallMs);
  const done = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(stall);
      if (code === 0) resolve();
      else reject(failed(file, args, code, said));
    });
  });
  // Whoever is interested awaits it; a sender that is ended on purpose must not end the agent.
  done.catch(() => {});
  return { child, done, moved: () => void stall.refresh() };
}

const counted = (moved: () => void): Transform =>
  new Transform({
    transform(data, _encoding, done) {
      moved();
      done(null, data);
    },
  });

/** The real ones, those of the rounds' streams with them. */
export const replicaTools: ReplicaTools = {
  ...systemTools,
  read(file, args): RoundSource {
    const { child, done, moved } = watched(file, args, ['ignore', 'pipe', 'pipe']);
    // Node throws away what nobody has begun to read when a child ends: a short difference whose reader comes late would be empty.
    const stream = (child.stdout as Readable).pipe(counted(moved));
    stream.on('error', () => {});
    const end = (): void => {
      child.kill('SIGKILL');
      // It is over only when its output is: what nobody reads on would be waited for for ever.
      child.stdout?.destroy();
      stream.destroy(new Error('the sender was ended'));
    };
    return { stream, done, end };
  },
  async feed(file, args, stream) {
    const { child, done, moved } = watched(file, args, ['pipe', 'ignore', 'pipe']);
    // A receiver that gives up closes its input first; its own words are the better reason.
    const fed = pipeline(stream, counted(moved), child.stdin as Writable).then(
      () => null,
      (error: Error) => error,
    );
    await done;
    const broken = await fed;
    if (broken) throw broken;
  },
};
