import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { recordBytes } from '../../node/executors/docker-container.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { freezeCgroup, isCgroupFrozen, thawCgroup } from '../../node/executors/run-cgroup.ts';
import type { ExecutorSpec, Workspace } from '../../node/ports.ts';
import { never, outputUntil, runStep, specOf, step, textOf } from '../contract/executor-steps.ts';
import { makeTestImages, removeNetwork } from './test-image.ts';

/** Jobs that do what they may not, as root of their container. */
describe('docker executor under a hostile job', () => {
  const node = `t-hostile-${process.pid}`;
  const executor = new DockerExecutor({ node });
  let open: Workspace[] = [];
  let counter = 0;
  let spec: ExecutorSpec;
  const prepare = async (more: Partial<ExecutorSpec> = {}, image = makeTestImages().bash): Promise<Workspace> => {
    spec = specOf(`h${process.pid}-${++counter}`, image, more);
    const workspace = await executor.prepare(spec, never);
    open.push(workspace);
    return workspace;
  };
  const isRunning = (handle: string): boolean =>
    execFileSync('docker', ['inspect', '-f', '{{.State.Running}}', handle], { encoding: 'utf8' }).trim() === 'true';

  afterEach(async () => {
    for (const workspace of open) await workspace.remove();
    open = [];
  });
  afterAll(() => removeNetwork(node));

  it('gives a job none of our variables, and nothing that it can read forges its end', async () => {
    const workspace = await prepare();
    // Everything that lies open: the record with the step's first word, all environments and command lines.
    const look =
      'cat "$CI_PROJECT_DIR".tmp/.autogit/* /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" "\\n" >/tmp/seen';
    const { text, end } = await runStep(
      workspace,
      0,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
      'env | cut -d= -f1 | sort | tr "\\n" " "; echo "[${d-none}${m-none}]"',
      look,
      'while read -r word rest; do printf "%s end 0 0\\n%s 0\\n" "$word" "$word"; done </tmp/seen',
      'echo 0 >"$CI_PROJECT_DIR".tmp/.autogit/step-0.exit',
      'exit 1',
    );
    expect(end).toEqual({ kind: 'exited', exitCode: 1 });
    expect(text.split('\n')[0]).toMatch(
      /^(CI_BUILDS_DIR|CI_PROJECT_DIR|HOME|HOSTNAME|NVIDIA_VISIBLE_DEVICES|OLDPWD|PATH|PWD|SHLVL|TERM|_| )+\[nonenone\]$/,
    );
  });

  it('does not believe a forged record of the end after a restart', async () => {
    const workspace = await prepare();
    await workspace.start(step('echo 0 >"$CI_PROJECT_DIR".tmp/.autogit/step-0.exit', 'echo up', 'sleep 2; exit 4'), 0);
    await outputUntil(workspace, 0, 'up');
    const adopted = (await executor.adopt(spec, workspace.handle)) as Workspace;
    expect(await adopted.ended(0)).toEqual({ kind: 'exited', exitCode: 4 });
  });

  it('ends a job that owns its sh, ignores signals and says that all is ended', async () => {
    const workspace = await prepare();
    await workspace.start(
      step(
        'trap "" TERM HUP INT',
        'printf "#!/bin/bash\\necho left 0\\n" >/tmp/sh; chmod 755 /tmp/sh; rm /bin/sh; mv /tmp/sh /bin/sh',
        'echo up',
        'while :; do sleep 0.1; done',
      ),
      0,
    );
    await outputUntil(workspace, 0, 'up');
    const begun = performance.now();
    await workspace.kill(1000);
    expect(await workspace.ended(0)).toEqual({ kind: 'killed', because: 'its node ended it' });
    expect(performance.now() - begun).toBeLessThan(6000);
    expect(isRunning(workspace.handle)).toBe(false);
    expect(await textOf(workspace, 0)).toBe('up\n');
  });

  it('ends a job whose sh only sleeps within grace + 5 s', async () => {
    const workspace = await prepare();
    await workspace.start(
      step(
        'printf "#!/bin/bash\\nsleep 600\\n" >/tmp/sh; chmod 755 /tmp/sh; rm /bin/sh; mv /tmp/sh /bin/sh',
        'echo up',
        'sleep 600',
      ),
      0,
    );
    await outputUntil(workspace, 0, 'up');
    const begun = performance.now();
    await workspace.kill(500);
    expect(performance.now() - begun).toBeLessThan(5500);
    expect(isRunning(workspace.handle)).toBe(false);
    expect(await workspace.ended(0)).toMatchObject({ kind: 'killed' });
  });

  it('says exit code 137 of a job that kills everything in its container, and keeps what it said before', async () => {
    const workspace = await prepare();
    const { text, end } = await runStep(workspace, 0, 'echo before', 'sleep 0.3', 'kill -9 -1', 'sleep 5');
    expect(end).toMatchObject({ kind: 'exited', exitCode: 137 });
    expect(text).toBe('before\n');
  });

  it('waits for what a filter still holds when the script ends, and no longer than 5 s', async () => {
    const workspace = await prepare();
    const tail = await runStep(workspace, 0, 'exec > >(sleep 1; cat) 2>&1', 'seq 1 50');
    expect(tail.text.endsWith('49\n50\n')).toBe(true);
    // A background process that is no filter is not waited for.
    const server = performance.now();
    await runStep(workspace, 1, 'sleep 600 &');
    expect(performance.now() - server).toBeLessThan(3000);
    const begun = performance.now();
    const stuck = await runStep(workspace, 2, 'echo first', 'exec > >(exec tail -f -n +1 - /dev/null) 2>&1', 'exit 3');
    expect(stuck.end).toEqual({ kind: 'exited', exitCode: 3 });
    expect(performance.now() - begun).toBeLessThan(9000);
  });

  it('keeps no more of a flood than its record may hold, and the next step’s end is known', async () => {
    const workspace = await prepare();
    const file = (name: string): string => `"$CI_PROJECT_DIR".tmp/.autogit/${name}`;
    await runStep(workspace, 0, `head -c ${3 * recordBytes} /dev/zero`);
    const { text, end } = await runStep(workspace, 1, `wc -c <${file('output')}`, 'exit 6');
    expect(end).toEqual({ kind: 'exited', exitCode: 6 });
    expect(Number(text)).toBeGreaterThan(recordBytes / 2);
    expect(Number(text)).toBeLessThanOrEqual(recordBytes);
    const adopted = (await executor.adopt(spec, workspace.handle)) as Workspace;
    expect(await adopted.ended(1)).toEqual({ kind: 'exited', exitCode: 6 });
    expect(await textOf(adopted, 1)).toBe('');
  });

  it('reads the record of an adopted run that is still frozen by file: every line once, after the thaw', async () => {
    const workspace = await prepare();
    await workspace.start(step('i=0', 'while [ $i -lt 30 ]; do i=$((i+1)); echo "$i"; sleep 0.05; done'), 0);
    await outputUntil(workspace, 0, '3\n');
    const freezer = await workspace.freezer?.();
    const path = freezer?.kind === 'cgroup' ? freezer.path : '';
    freezeCgroup(path);
    for (let tries = 0; tries < 100 && !isCgroupFrozen(path); tries++) await sleep(20);
    const adopted = (await executor.adopt(spec, workspace.handle)) as Workspace;
    const text = textOf(adopted, 0);
    await sleep(1500);
    // A freeze of what stands still is no error.
    await adopted.freeze();
    thawCgroup(path);
    expect(await text).toBe(Array.from({ length: 30 }, (_, at) => `${at + 1}\n`).join(''));
  });

  it('says which limit a job met that was killed for memory, and what raises it', async () => {
    const workspace = await prepare({ memoryBytes: 32 << 20 });
    const { end } = await runStep(workspace, 0, 'x=$(head -c 100000000 /dev/zero | tr "\\0" x); echo "$x"');
    expect(end).toMatchObject({
      kind: 'exited',
      exitCode: 137,
      because: 'killed: out of memory, this job may use 32 MiB; ask for more with the tag mem-4g (exit code 137)',
    });
  });
});
