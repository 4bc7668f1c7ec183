import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parentOf } from '../../node/machine/processes.ts';
import { pipelineEnd } from '../e2e/mesh.ts';
import { sleep } from '../e2e/rig.ts';
import { maxUnder, type Row, ratioAtMost, row } from './figures.ts';
import { again, type Probed } from './probed.ts';

/**
 * MiB of an agent and all its children, memory that they share counted once. Without files' pages: those of the program
 * are shared with every other Node process of this computer, so they are fewer the more of these run.
 */
function treeMib(root: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    const parent = parentOf(Number(name));
    if (parent !== null) parents.set(Number(name), parent);
  }
  const belongs = (pid: number): boolean =>
    pid === root || (parents.has(pid) && pid > 1 && belongs(parents.get(pid) as number));
  let kib = 0;
  for (const pid of parents.keys())
    if (belongs(pid))
      try {
        const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
        for (const [, own] of text.matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+)/gm)) kib += Number(own);
      } catch {
        // It ended while we looked.
      }
  return kib / 1024;
}

const trees = {
  '20,000 files':
    'mkdir -p t; cd t; for d in $(seq 100); do mkdir d$d; for f in $(seq 200); do echo "$d $f $RANDOM" > d$d/f$f; done; done; cd ..',
  '2 GiB': 'mkdir -p t; head -c 2147483648 /dev/urandom > t/big',
};

export const artifactTrees = Object.keys(trees) as (keyof typeof trees)[];

interface What {
  name: keyof typeof trees;
  executor: string;
  /** Null: no container. */
  image: string | null;
}

const run = promisify(execFile);

/** The same tree, and how long the peer takes with it: `zip -qr`; from a container the engine's archive goes first. */
class Peer {
  readonly name: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'autogit-bench-zip-'));
  readonly #container: string | null = null;

  constructor({ name, image }: What) {
    this.name = image ? 'docker cp + zip -qr' : 'zip -qr';
    if (image === null) execFileSync('bash', ['--norc', '-c', trees[name]], { cwd: this.#folder, stdio: 'ignore' });
    else {
      const args = [
        'run',
        '-d',
        '-w',
        '/made',
        '--entrypoint',
        'bash',
        image,
        '-c',
        `${trees[name]}; exec sleep 100000`,
      ];
      this.#container = execFileSync('docker', args, { encoding: 'utf8' }).trim();
      const made = [
        'exec',
        this.#container,
        'bash',
        '-c',
        'until [ "$(cat /proc/1/comm)" = sleep ]; do sleep 0.2; done',
      ];
      execFileSync('docker', made);
    }
  }

  /** Not in one piece: connections to the practice GitLab that nobody looks after for a minute are closed by it. */
  async once(): Promise<number> {
    const into = join(this.#folder, 'out');
    mkdirSync(into);
    const began = performance.now();
    const cwd = this.#container === null ? this.#folder : into;
    if (this.#container !== null) await run('docker', ['cp', '-q', `${this.#container}:/made/t`, into]);
    await run('zip', ['-qr', join(into, 'out.zip'), 't'], { cwd });
    const took = performance.now() - began;
    rmSync(into, { recursive: true, force: true });
    return took;
  }

  close(): void {
    if (this.#container !== null) spawnSync('docker', ['rm', '-f', this.#container], { stdio: 'ignore' });
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** From the script's end to the job's end, beside the peer with the same tree; and what the agent's tree of processes takes meanwhile. */
export async function artifactRows(
  agent: Probed,
  what: What,
  trials: number,
  say: (line: string) => void,
): Promise<Row[]> {
  const title = `${what.executor}, artifact of ${what.name}`;
  await agent.gitlab.api('/application/settings', {
    method: 'PUT',
    body: JSON.stringify({ max_artifacts_size: 4096 }),
  });
  const script = JSON.stringify([trees[what.name], 'echo ended $(date +%s%N)']);
  const head = what.image ? `image: '${what.image}', ` : '';
  const ours: number[] = [];
  const memory: number[] = [];
  const others: number[] = [];
  const peer = new Peer(what);
  try {
    await sleep(3_000);
    const idleMib = treeMib(agent.pid);
    const project = await agent.gitlab.push(`artifact-${title.replace(/\W+/g, '-').toLowerCase()}`, {
      '.gitlab-ci.yml': `job: { ${head}script: ${script}, artifacts: { paths: [t] } }`,
    });
    for (let trial = 0; trial < trials; trial++) {
      if (trial > 0) await again(agent, project);
      let worst = 0;
      const watch = setInterval(() => {
        worst = Math.max(worst, treeMib(agent.pid));
      }, 250);
      const { jobs } = await pipelineEnd(agent.rig, project, 600_000).finally(() => clearInterval(watch));
      const ended = Date.now();
      const trace = await agent.gitlab.trace(project, jobs[0]!.id);
      if (jobs[0]!.status !== 'success') throw new Error(`the job failed: ${trace.slice(-300)}`);
      ours.push(ended - Number(/^ended (\d+)/m.exec(trace)?.[1]) / 1e6);
      memory.push(worst - idleMib);
      others.push(await peer.once());
      say(
        `  ${Math.round(ours.at(-1)!)} ms, ${peer.name} ${Math.round(others.at(-1)!)} ms, ${Math.round(memory.at(-1)!)} MiB`,
      );
    }
  } finally {
    peer.close();
  }
  return [
    row({
      measure: `${title}: script's end -> job's end`,
      unit: 'ms',
      ours,
      against: { name: peer.name, values: others },
      targets: [ratioAtMost(1.3)],
      note: 'ours holds the upload to the practice GitLab on the same cores and the final report, too',
    }),
    row({ measure: `${title}: memory above idle`, unit: 'MiB', ours: memory, targets: [maxUnder(64)] }),
  ];
}
