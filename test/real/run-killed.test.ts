import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { plainText, RunLab, until } from './run-lab.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Beside node_modules, so that classic-level is found.
const bundle = join(root, 'dist', `run-agent-${process.pid}.mjs`);
let lab: RunLab;
const agents: ChildProcess[] = [];

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'test/real/run-agent.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['classic-level'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
});
afterAll(() => rmSync(bundle, { force: true }));
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.kill('SIGKILL');
  await lab.stop();
});

/** Starts an agent process; `said` are its lines so far. */
function agent(what: 'take' | 'resume'): {
  child: ChildProcess;
  said: Record<string, unknown>[];
  died: Promise<unknown>;
} {
  const child = spawn(process.execPath, [bundle, lab.folder, what], { stdio: ['ignore', 'pipe', 'inherit'] });
  agents.push(child);
  const said: Record<string, unknown>[] = [];
  let rest = '';
  child.stdout?.on('data', (data: Buffer) => {
    const lines = (rest + data.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) said.push(JSON.parse(line) as Record<string, unknown>);
  });
  return { child, said, died: new Promise((resolve) => child.once('exit', resolve)) };
}

const configure = (): void =>
  writeFileSync(
    join(lab.folder, 'agent.json'),
    JSON.stringify({ url: lab.gitlab.url, token: lab.runnerToken, home: lab.home }),
    { mode: 0o600 },
  );

describe('an agent killed -9', () => {
  it('goes on where it stood, however often: no gap, no repetition, no secret', async () => {
    const count = 120;
    const ci = `
only:
  script:
    - for i in $(seq 1 ${count}); do echo "line $i"; printf 'a'; printf '%s' "$CI_JOB_TOKEN" | head -c 9; sleep 0.02; printf '%s' "$CI_JOB_TOKEN" | tail -c +10; echo "!"; sleep 0.02; done
    - echo begins >> ../begins; wc -l < ../begins
  after_script: ["echo after"]
`;
    lab = await RunLab.start({ '.gitlab-ci.yml': ci });
    configure();
    let { child, said, died } = agent('take');
    await until('the script', () => said.some(({ state }) => state === 'running'));
    for (const lifeMs of [700, 250, 600, 150, 900]) {
      await new Promise((resolve) => setTimeout(resolve, lifeMs));
      child.kill('SIGKILL');
      await died;
      ({ child, said, died } = agent('resume'));
      await until('the next agent', () => said.some(({ ready }) => ready === true));
    }
    await until('the end', () => said.some(({ state }) => state === 'delivered'));
    const [job] = lab.gitlab.jobsOf(1);
    const text = plainText(await lab.traceAt({ job: job?.id } as never));
    expect(
      said.find(({ state }) => state === 'delivered'),
      text,
    ).toMatchObject({ result: { state: 'success' } });
    expect(job).toMatchObject({ status: 'success', traceCheck: 'match' });
    const body = text.slice(text.indexOf('done\n') + 5);
    const expected = Array.from({ length: count }, (_, i) => `line ${i + 1}\na[MASKED]!\n`).join('');
    expect(body.slice(0, expected.length)).toBe(expected);
    expect(body.slice(expected.length)).toMatch(
      /^\$ echo begins.*\n1\nRunning after_script\n\$ echo after\nafter\nJob succeeded\n$/,
    );
    expect(text.match(/Running with autogit-node/g)).toHaveLength(1);
  });

  it('fails the run, and never runs it again, when nothing of it is left (SAFETY J4)', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only:\n  script: ["echo begun; echo $$ > ../pid; sleep 600"]\n' });
    configure();
    const first = agent('take');
    await until('the script', () => first.said.some(({ kind }) => kind === 'taken'));
    const [job] = lab.gitlab.jobsOf(1);
    const run = { job: job?.id } as never;
    await until('its first line', async () => plainText(await lab.traceAt(run)).includes('\nbegun\n'));
    first.child.kill('SIGKILL');
    await first.died;
    // As after a reboot: the processes are gone, and so is the executor's folder.

    const sweep = new (await import('../../node/executors/process-executor.ts')).ProcessExecutor({
      home: lab.home,
      cgroups: false,
    });
    await sweep.sweep(new Set());
    rmSync(join(lab.home, 'work'), { recursive: true, force: true });
    const second = agent('resume');
    await until('the end', () => second.said.some(({ state }) => state === 'delivered'));
    expect(lab.gitlab.job(job?.id ?? 0)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
    const text = plainText(await lab.traceAt(run));
    expect(text.match(/begun\n/g)).toHaveLength(1);
    expect(text).toContain('ERROR: Job failed: the agent of this node was restarted and nothing of the run is left\n');
  });
});
