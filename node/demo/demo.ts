import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sampleProject, seedProject } from '../../gitlab-bridge/practice/sample-project.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { ProcessExecutor } from '../executors/process-executor.ts';
import { DemoMachine, startPractice, stopAll, until } from './children.ts';

const pipelineLimitMs = 70_000;
const names = ['kang', 'desktop-1', 'desktop-2'] as const;

interface Story {
  say(who: string, sentence: string): void;
}

/** One line a happening, with the seconds since the start. */
function story(): Story {
  const began = performance.now();
  return {
    say: (who, sentence) => {
      const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(5);
      process.stdout.write(`${seconds} s  ${who.padEnd(10)} ${sentence}\n`);
    },
  };
}

/** Compares the words on both machines, as a person would, and approves. */
async function letIn(member: DemoMachine, newcomer: DemoMachine, { say }: Story): Promise<void> {
  const shown = await until(`${newcomer.name} shows its words`, async () => {
    const phase = await newcomer.client.phase();
    return phase.phase === 'waiting' ? phase.words : null;
  });
  say(newcomer.name, `asks to be let in; its words: ${shown}`);
  const waiting = await until(`${member.name} shows the same words`, async () =>
    (await member.client.status()).snapshot.waiting.find((row) => row.id !== '' && row.node === newcomer.name),
  );
  if (waiting.words !== shown)
    throw new AutogitError('demo-failed', `${member.name} shows other words for ${newcomer.name}: ${waiting.words}`);
  const because = `words compared in the demo: ${shown}`;
  const outcome = await member.client.change({ kind: 'approve', node: newcomer.name, words: shown, because });
  if (outcome.state !== 'done') throw new AutogitError('demo-failed', `approve ${newcomer.name}: ${outcome.because}`);
  say(member.name, `shows the same words: ${newcomer.name} is approved`);
}

async function formMesh(dir: string, told: Story): Promise<DemoMachine[]> {
  const machines = [
    new DemoMachine(dir, names[0]),
    new DemoMachine(dir, names[1], { AUTOGIT_PLAY_GPU: 'RTX 3090 Ti:24g' }),
    new DemoMachine(dir, names[2]),
  ] as const;
  const [kang, ...desktops] = machines;
  kang.join('--new', 'home');
  const address = await until('kang founds the mesh', async () => {
    const { snapshot } = await kang.client.status();
    return snapshot.leader ? snapshot.nodes.find((row) => row.self)?.address : null;
  });
  told.say('kang', `founds the mesh "home" and leads it, at ${address}`);
  for (const desktop of desktops) desktop.join('--peer', address);
  for (const desktop of desktops) await letIn(kang, desktop, told);
  await until('all three vote', async () => {
    const all = await Promise.all(machines.map((machine) => machine.client.status()));
    return all.every(({ snapshot }) => snapshot.leader && snapshot.quorum.voters.length === machines.length);
  });
  const { quorum, nodes } = (await kang.client.status()).snapshot;
  told.say('mesh', quorum.sentence);
  const gpu = nodes.flatMap((row) => row.capacity?.gpus ?? []).at(0);
  told.say('desktop-1', `plays a GPU machine for this demo: ${gpu?.model ?? 'but its GPU is not seen'}`);
  return [...machines];
}

/** Tells each job's way as it happens, from any machine that answers. */
class Watcher {
  readonly #seen = new Map<number, string>();
  readonly #machines: DemoMachine[];
  readonly #told: Story;
  rows: JobRow[] = [];

  constructor(machines: DemoMachine[], told: Story) {
    this.#machines = machines;
    this.#told = told;
  }

  async look(): Promise<JobRow[]> {
    for (const machine of this.#machines) {
      try {
        this.rows = await machine.client.jobs(true);
        break;
      } catch {
        // Killed, or starting again: the next one is asked.
      }
    }
    for (const row of this.rows) this.#tell(row);
    return this.rows;
  }

  #tell(row: JobRow): void {
    if (this.#seen.get(row.job) === row.state) return;
    this.#seen.set(row.job, row.state);
    if (row.state === 'running') this.#told.say(row.node ?? '?', `runs ${row.name} (job ${row.job}): ${row.because}`);
    else if (row.state !== 'waiting' && row.state !== 'granted')
      this.#told.say(row.node ?? '?', `${row.name} (job ${row.job}) ${row.state}`);
  }
}

async function failover(machines: DemoMachine[], { say }: Story): Promise<{ leader: string; ms: number }> {
  const [kang, ...others] = machines as [DemoMachine, ...DemoMachine[]];
  const busy = (await kang.client.jobs(true)).filter((row) => row.state === 'running');
  say('demo', `kill -9 of the leader kang, while ${busy.length} jobs run (${busy.map((row) => row.name).join(', ')})`);
  const killedAt = Date.now();
  await kang.kill('SIGKILL');
  const elected = await until('another machine leads', () => {
    const all = others.map((machine) => machine.electedAfter(killedAt));
    const last = Math.max(...all.map((event) => event?.time ?? Number.POSITIVE_INFINITY));
    return last < Number.POSITIVE_INFINITY && all[0] ? { leader: all[0].leader, ms: last - killedAt } : null;
  });
  say(elected.leader, `leads, and both survivors know it, ${elected.ms} ms after the kill`);
  kang.join();
  say('kang', 'starts again, as systemd would start it, and takes up what it was running');
  return elected;
}

/** A pipeline's jobs as GitLab itself counts them: what the demo promises is checked there. */
async function verdict(
  url: string,
  token: string,
  project: number,
): Promise<{ status: string; passed: number; lost: number }> {
  const get = async <T>(path: string): Promise<T> => {
    const answer = await fetch(`${url}/api/v4/projects/${project}/${path}`, { headers: { 'private-token': token } });
    if (!answer.ok) throw new AutogitError('demo-failed', `the practice GitLab answered ${answer.status} for ${path}`);
    return (await answer.json()) as T;
  };
  const [pipeline] = await get<{ id: number; status: string }[]>('pipelines');
  if (!pipeline) return { status: 'created', passed: 0, lost: 0 };
  const path = `pipelines/${pipeline.id}/jobs?per_page=100&include_retried=true`;
  const jobs = await get<{ status: string; failure_reason: string | null }[]>(path);
  return {
    status: pipeline.status,
    passed: jobs.filter((job) => job.status === 'success').length,
    lost: jobs.filter((job) => job.failure_reason === 'runner_system_failure').length,
  };
}

async function run(dir: string, told: Story): Promise<boolean> {
  const practice = await startPractice(join(dir, 'gitlab'));
  told.say('gitlab', `a practice GitLab (a stand-in, not GitLab) answers at ${practice.url}`);
  const machines = await formMesh(dir, told);
  const [kang, desktop] = machines as [DemoMachine, DemoMachine, ...DemoMachine[]];
  const connected = await kang.client.gitlabConnect({ url: practice.url, token: practice.token, runnerTokens: [] });
  if (connected.state !== 'done') throw new AutogitError('demo-failed', `gitlab connect: ${connected.because}`);
  const project = await seedProject({ url: practice.url, adminToken: practice.token }, sampleProject());
  // This machine may have no port left for a page, or be told not to serve one: the demo goes on without.
  const page = await desktop.client.pageLink('viewer', null).catch(() => null);
  if (page) told.say('demo', `the page, while this runs: ${page.urls[0]}`);
  told.say('demo', 'pushes the sample project: its .gitlab-ci.yml becomes a pipeline');
  const watcher = new Watcher(machines, told);
  await until('kang and another machine run jobs', async () => {
    const active = (await watcher.look()).filter((row) => row.state === 'running').map((row) => row.node);
    return active.includes('kang') && new Set(active).size >= 2;
  });
  const elected = await failover(machines, told);
  const end = await until(
    'the pipeline ends',
    async () => {
      await watcher.look();
      const now = await verdict(practice.url, practice.token, project);
      return ['success', 'failed', 'canceled'].includes(now.status) ? now : null;
    },
    pipelineLimitMs,
  );
  const isGreen = end.status === 'success' && end.lost === 0;
  if (!isGreen) told.say('demo', `the pipeline ended as ${end.status}`);
  const { passed, lost } = end;
  const ending = `leader kang killed, ${elected.leader} leads after ${elected.ms} ms`;
  await stopAll();
  process.stdout.write(`demo: ${passed} jobs passed, ${lost} lost; ${ending}\n`);
  return isGreen;
}

/** Runs the demo; 0 when the pipeline is green and nothing was lost, else 1. `keep` leaves the homes for a look. */
export async function runDemo({ keep }: { keep: boolean }): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'autogit-demo-'));
  const told = story();
  const interrupted = (): void => void stopAll().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  let isGreen = false;
  try {
    isGreen = await run(dir, told);
  } finally {
    await stopAll();
    // A demo that failed may leave scripts behind: runs outlive their agents.
    for (const name of names) await new ProcessExecutor({ home: join(dir, name) }).sweep(new Set());
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    if (keep) process.stderr.write(`kept: ${dir}\n`);
    else rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
  return isGreen ? 0 : 1;
}
