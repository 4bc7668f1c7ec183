import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExecutorHealth, jobNeeds } from '../../node/agent/executor-health.ts';
import { findProgram } from '../../node/clean-spawn.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { plainText, RunLab } from './run-lab.ts';

/** Git is taken away from an idle node, and under a job whose sources are fetched, and comes back. */
const usual = process.env.PATH ?? '';
const real = findProgram('git', usual) as string;
let folder: string;
let lab: RunLab | null = null;

/** A git in front of the real one. HOME tells the agent's calls from those of the practice GitLab in this process. */
const put = (script: string): void => {
  // Put in its place whole: one that is being started cannot be written to (ETXTBSY).
  const draft = join(folder, 'git.new');
  writeFileSync(draft, `#!/bin/sh\n[ "$HOME" = /nonexistent ] || exec ${real} "$@"\n${script}\n`);
  chmodSync(draft, 0o755);
  renameSync(draft, join(folder, 'git'));
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-away-git-'));
  process.env.PATH = `${folder}:${usual}`;
});
afterEach(async () => {
  process.env.PATH = usual;
  await lab?.stop();
  lab = null;
  rmSync(folder, { recursive: true, force: true });
});

const healthOf = (): ExecutorHealth =>
  new ExecutorHealth(
    [new ProcessExecutor({ home: folder })],
    { info: () => undefined, warn: () => undefined },
    jobNeeds(() => null),
  );
const lost = 'echo "git: error while loading shared libraries: libpcre2-8.so.0" >&2; exit 127';

describe('a machine without a git that works', () => {
  it('takes no jobs, says why, and sees it come back: removed, broken, without its half that speaks http', async () => {
    const health = healthOf();
    const look = async (): Promise<string | null> => {
      await health.look();
      const [problem] = health.problems();
      expect(health.working()).toEqual(problem ? [] : ['process']);
      expect(problem?.about ?? 'git-away').toBe('git-away');
      return problem?.sentence ?? null;
    };
    put(`exec ${real} "$@"`);
    expect(await look()).toBeNull();
    process.env.PATH = join(folder, 'nothing');
    expect(await look()).toBe('this machine has no git, which fetches the sources of jobs');
    process.env.PATH = `${folder}:${usual}`;
    expect(await look()).toBeNull();
    put(lost);
    expect(await look()).toMatch(/^this machine's git, which fetches .* does not work: git .*libpcre2-8/s);
    mkdirSync(join(folder, 'core'));
    put(`[ "$1" = --exec-path ] && { echo ${folder}/core; exit; }; exec ${real} "$@"`);
    expect(await look()).toContain(`${folder}/core/git-remote-http is missing`);
    put(`exec ${real} "$@"`);
    expect(await look()).toBeNull();
  });

  it('fails the job that it has taken as its own failure, with words, and takes no other until git is back', async () => {
    put(`[ ! -e ${folder}/lost ] || { ${lost}; }; exec ${real} "$@"`);
    lab = await RunLab.start({ '.gitlab-ci.yml': 'one: { script: ["true"] }\ntwo: { script: ["echo done"] }\n' });
    await lab.agent();
    const health = healthOf();
    await health.look();
    writeFileSync(join(folder, 'lost'), '');
    const run = await lab.begin();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    const trace = plainText(await lab.traceAt(run));
    expect(trace).toContain(
      "fetching the sources: this machine's git, which fetches the sources of jobs, does not work:",
    );
    expect(trace).toContain('; sudo apt-get install --reinstall git');
    await health.look();
    expect(health.problems()).toMatchObject([{ about: 'git-away' }]);
    expect(await lab.take()).toMatchObject({ kind: 'failed', maybeTaken: false });
    rmSync(join(folder, 'lost'));
    await health.look();
    expect(health.working()).toEqual(['process']);
    expect((await lab.ended(await lab.begin())).result).toMatchObject({ state: 'success' });
  });
});
