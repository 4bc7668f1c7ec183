import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { traceLimits } from '../../gitlab-bridge/trace.ts';
import type { Executor, ExecutorSpec, Workspace } from '../../node/ports.ts';
import { type ChildPlan, executorOf } from './executor-child.ts';
import { filesOf, never, outputUntil, runStep, specOf, step, tarOf, textOf } from './executor-steps.ts';

/** What every executor must do, whatever it runs on. `plan` is asked once, after the suite's own set-up. */
export type ContractPlan = () => Pick<ChildPlan, 'kind' | 'options'> & { image: string | null };

let counter = 0;

export function executorContract(name: string, contract: ContractPlan): void {
  describe(`executor contract: ${name}`, () => {
    let plan: ReturnType<ContractPlan>;
    let executor: Executor;
    let scratch: string;
    let open: Workspace[] = [];
    const children: ChildProcess[] = [];

    beforeAll(async () => {
      plan = contract();
      executor = executorOf(plan);
      scratch = mkdtempSync(join(tmpdir(), 'autogit-contract-'));
      await executor.check();
    });
    afterEach(async () => {
      for (const workspace of open) await workspace.remove();
      open = [];
      for (const child of children) child.kill('SIGKILL');
    });
    afterAll(async () => {
      await executor.sweep(new Set());
      rmSync(scratch, { recursive: true, force: true });
    });

    const newRun = (): string => `c${process.pid}-${++counter}`;
    const prepare = async (more: Partial<ExecutorSpec> = {}): Promise<Workspace> => {
      const workspace = await executor.prepare(specOf(newRun(), plan.image, more), never);
      open.push(workspace);
      return workspace;
    };

    it('gives output and exit code of a step, in the tree', async () => {
      const workspace = await prepare();
      const { text, end } = await runStep(workspace, 0, 'pwd', 'echo hello', 'echo problem >&2', 'exit 3');
      expect(text).toBe(`${workspace.projectDir}\nhello\nproblem\n`);
      expect(end).toEqual({ kind: 'exited', exitCode: 3 });
    });

    it('stops at the first line that fails, with its exit code', async () => {
      const { text, end } = await runStep(await prepare(), 0, 'echo one', '(exit 42)', 'echo two');
      expect(text).toBe('one\n');
      expect(end).toEqual({ kind: 'exited', exitCode: 42 });
    });

    it('shows output as it comes, half lines too', async () => {
      const workspace = await prepare();
      await workspace.start(step('printf half', 'while ! [ -e go ]; do sleep 0.05; done', 'echo " line"'), 0);
      expect(await outputUntil(workspace, 0, 'half')).toBe('half');
      await workspace.putTar('.', tarOf({ go: '' }));
      expect(await textOf(workspace, 0)).toBe('half line\n');
      expect(await textOf(workspace, 0, 5)).toBe('line\n');
      expect(await workspace.ended(0)).toEqual({ kind: 'exited', exitCode: 0 });
    });

    it('keeps output without a newline at its end, empty lines, and bytes that are no text', async () => {
      const workspace = await prepare();
      await workspace.start(step(String.raw`printf '\n\n\r\n\377\000\001x'`), 0);
      const chunks: Uint8Array[] = [];
      for await (const chunk of workspace.output(0, 0, never)) chunks.push(chunk);
      expect(Buffer.concat(chunks).toString('latin1')).toBe('\n\n\r\n\xff\0\x01x');
      expect((await runStep(workspace, 1, 'printf next')).text).toBe('next');
      expect((await runStep(workspace, 2, 'true')).text).toBe('');
    });

    it('loses nothing where a script opens its output by a name', async () => {
      const script = [
        'for i in 1 2 3; do echo line $i; done; sleep 0.3',
        'echo error >/dev/stderr',
        'echo both | tee /dev/stderr; echo out >/dev/stdout; echo last',
      ];
      const { text, end } = await runStep(await prepare(), 0, ...script);
      expect(text).toBe('line 1\nline 2\nline 3\nerror\nboth\nboth\nout\nlast\n');
      expect(end).toEqual({ kind: 'exited', exitCode: 0 });
    });

    it('lets steps share one tree, and each have its own output', async () => {
      const workspace = await prepare();
      await runStep(workspace, 0, 'mkdir -p out', 'echo from-0 >out/file', 'echo zero');
      const second = await runStep(workspace, 1, 'cat out/file');
      expect(second).toEqual({ text: 'from-0\n', end: { kind: 'exited', exitCode: 0 } });
      expect(await textOf(workspace, 0)).toBe('zero\n');
    });

    it('refuses to begin a step twice', async () => {
      const workspace = await prepare();
      await runStep(workspace, 0, 'true');
      await expect(workspace.start(step('true'), 0)).rejects.toThrow(/begun before/);
    });

    it('brings files in and out', async () => {
      const workspace = await prepare();
      await workspace.putTar('.', tarOf({ 'a.txt': 'A', 'sub/deep/b.txt': 'B' }));
      await workspace.putTar('other/place', tarOf({ 'c.txt': 'C' }));
      const { text, end } = await runStep(
        workspace,
        0,
        'cat a.txt sub/deep/b.txt other/place/c.txt',
        'echo changed >a.txt',
        'mkdir out',
        'echo made >out/made.txt',
        'echo dash >./-dash',
      );
      expect({ text, end }).toEqual({ text: 'ABC', end: { kind: 'exited', exitCode: 0 } });
      expect(await filesOf(workspace, 'out')).toEqual({ 'out/made.txt': 'made\n' });
      expect(await filesOf(workspace, 'sub/deep/b.txt')).toEqual({ 'sub/deep/b.txt': 'B' });
      expect(await filesOf(workspace, '-dash')).toEqual({ '-dash': 'dash\n' });
      expect(await filesOf(workspace, '.')).toEqual({
        'a.txt': 'changed\n',
        '-dash': 'dash\n',
        'sub/deep/b.txt': 'B',
        'other/place/c.txt': 'C',
        'out/made.txt': 'made\n',
      });
      expect(await filesOf(workspace, 'nothing/there')).toEqual({});
      await expect(workspace.putTar('../../..', tarOf({ x: '' }))).rejects.toThrow(/leaves the job's tree/);
      await expect(workspace.listFiles(['a/../../b'])).rejects.toThrow(/leaves the job's tree/);
    });

    it('gives variables whole, whatever is in them, and by no argument list', async () => {
      const odd = 'quote \' double " dollar $HOME `id` \\ new\nline\ttab é 漢 \u{1F600} -n';
      const secret = `glpat-${Math.random().toString(36).slice(2)}x`;
      const workspace = await prepare({
        variables: [
          { key: 'ODD', value: odd, file: false },
          { key: 'SECRET', value: secret, file: false },
          { key: 'KUBE', value: `${odd}\n`, file: true },
          { key: 'EMPTY', value: '', file: false },
          { key: 'UID', value: '0', file: false },
          { key: 'not-a-name', value: 'x', file: false },
          { key: 'CI_PROJECT_PATH', value: 'group/sub/project', file: false },
          { key: 'BIG', value: 'x'.repeat(200_000), file: true },
        ],
      });
      expect(workspace.projectDir.endsWith('/builds/group/sub/project')).toBe(true);
      await workspace.start(
        step(
          String.raw`printf '%s' "$ODD"; printf '|'; cat "$KUBE"; printf '|%s|' "$EMPTY\${EMPTY+set}"`.replace(
            '\\$',
            '$',
          ),
          'printf "%s|" "$CI_PROJECT_DIR"; wc -c <"$BIG"',
          'echo ready; while ! [ -e go ]; do sleep 0.05; done',
        ),
        0,
      );
      const text = await outputUntil(workspace, 0, 'ready');
      expect(execFileSync('ps', ['-eww', '-o', 'args='], { encoding: 'utf8' })).not.toContain(secret);
      await workspace.putTar('.', tarOf({ go: '' }));
      await workspace.ended(0);
      expect(text).toContain(`${odd}|${odd}\n|set|${workspace.projectDir}|`);
    });

    it("does not show the agent's own environment", async () => {
      process.env.AUTOGIT_TEST_TOKEN = 'agent-secret';
      const { text } = await runStep(await prepare(), 0, 'env', 'echo "home is $HOME"');
      delete process.env.AUTOGIT_TEST_TOKEN;
      expect(text).not.toContain('agent-secret');
      // Nor anything that is called after us.
      expect(text).not.toMatch(/autogit_/i);
      expect(text).toMatch(/home is \//);
    });

    it('terminates with SIGTERM first, and the run can go on with another step', async () => {
      const workspace = await prepare();
      await workspace.start(
        step('trap "echo tidy; exit 9" TERM', 'echo up', 'while :; do sleep 0.05 || true; done'),
        0,
      );
      await outputUntil(workspace, 0, 'up');
      await workspace.kill(20_000);
      expect(await workspace.ended(0)).toMatchObject({ kind: 'killed' });
      // The sleep is terminated too, and shells may say so.
      expect(await textOf(workspace, 0)).toMatch(/^up\n(Terminated\n)?tidy\n$/);
      expect((await runStep(workspace, 1, 'echo after')).text).toBe('after\n');
    });

    it('kills what ignores SIGTERM after the grace', async () => {
      const workspace = await prepare();
      await workspace.start(step('trap "" TERM', 'echo up', 'while :; do sleep 0.05; done'), 0);
      await outputUntil(workspace, 0, 'up');
      await workspace.kill(300);
      expect(await workspace.ended(0)).toMatchObject({ kind: 'killed' });
      expect(await textOf(workspace, 0)).toMatch(/^up\n(Killed\n)?$/);
    });

    it('ends a step at its own limit', async () => {
      const workspace = await prepare();
      await workspace.start(
        { name: 'script', script: ['echo up', 'while :; do sleep 0.05; done'], timeoutMs: 1500 },
        0,
      );
      const end = await workspace.ended(0);
      expect(end).toEqual({ kind: 'killed', because: 'it ran longer than its limit of 2 s' });
    });

    it('freezes and thaws, and can end what is frozen', async () => {
      const workspace = await prepare();
      await workspace.start(step('i=0', 'while :; do i=$((i+1)); echo "$i"; sleep 0.02; done'), 0);
      await outputUntil(workspace, 0, '3\n');
      const count = async (): Promise<number> => {
        const stop = new AbortController();
        setTimeout(() => stop.abort(), 400);
        let bytes = 0;
        for await (const chunk of workspace.output(0, 0, stop.signal)) bytes += chunk.length;
        return bytes;
      };
      await workspace.freeze();
      const before = await count();
      await sleep(300);
      expect(await count()).toBe(before);
      await workspace.thaw();
      await sleep(300);
      expect(await count()).toBeGreaterThan(before);
      await workspace.freeze();
      await workspace.kill(0);
      expect(await workspace.ended(0)).toMatchObject({ kind: 'killed' });
    });

    it('goes on when the agent is killed -9: adopted, output without gap or repetition, right exit code', async () => {
      const bundle = join(scratch, 'child.mjs');
      await build({
        entryPoints: [new URL('./executor-child.ts', import.meta.url).pathname],
        outfile: bundle,
        bundle: true,
        platform: 'node',
        format: 'esm',
        external: ['*.node'],
        banner: {
          js: [
            "import { createRequire as makeRequire } from 'node:module';",
            'const require = makeRequire(import.meta.url);',
            'const __dirname = import.meta.dirname;',
          ].join(''),
        },
        logLevel: 'error',
      });
      const spec = specOf(newRun(), plan.image);
      const script = [
        'i=0',
        'while [ "$i" -lt 60 ]; do i=$((i+1)); printf "%s," "$i"; sleep 0.05; done',
        'echo; exit 5',
      ];
      const child = spawn(process.execPath, [bundle], {
        env: { PATH: process.env.PATH, AUTOGIT_TEST_PLAN: JSON.stringify({ ...plan, spec, script }) },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      let handle = '';
      let seen = '';
      for await (const line of createInterface({ input: child.stdout! })) {
        const said = JSON.parse(line) as { handle?: string; text?: string };
        handle ||= said.handle ?? '';
        seen += said.text ?? '';
        if (seen.includes('10,')) break;
      }
      child.kill('SIGKILL');
      const workspace = await executor.adopt(spec, handle);
      open.push(workspace!);
      expect(workspace).not.toBeNull();
      const [rest, end] = await Promise.all([textOf(workspace!, 0, seen.length), workspace!.ended(0)]);
      const all = `${Array.from({ length: 60 }, (_, at) => `${at + 1},`).join('')}\n`;
      expect(seen + rest).toBe(all);
      expect(end).toEqual({ kind: 'exited', exitCode: 5 });
      expect(await textOf(workspace!, 0)).toBe(all);
      expect((await runStep(workspace!, 1, 'echo after')).text).toBe('after\n');
    });

    it('does not run a step again after a restart, and says lost when its process is gone', async () => {
      const spec = specOf(newRun(), plan.image);
      const workspace = await executor.prepare(spec, never);
      open.push(workspace);
      await workspace.start(step('echo up', 'sleep 600'), 0);
      await outputUntil(workspace, 0, 'up');
      const again = await executorOf(plan).prepare(spec, never);
      expect(again.handle).toBe(workspace.handle);
      await expect(again.start(step('true'), 0)).rejects.toThrow(/begun before/);
      await workspace.remove();
      expect(await executorOf(plan).adopt(spec, workspace.handle)).toBeNull();
      expect(await again.ended(0)).toMatchObject({ kind: 'lost' });
    });

    it('holds of a flood of output what a trace may hold, and none of it in memory', async () => {
      const workspace = await prepare();
      const size = 50 << 20;
      await workspace.start(step(`head -c ${size} /dev/zero`, 'echo end'), 0);
      expect(await workspace.ended(0)).toEqual({ kind: 'exited', exitCode: 0 });
      const before = process.memoryUsage().rss;
      let peak = before;
      let bytes = 0;
      for await (const chunk of workspace.output(0, 0, never)) {
        bytes += chunk.length;
        peak = Math.max(peak, process.memoryUsage().rss);
      }
      expect(bytes).toBeGreaterThan(traceLimits.traceBytes);
      expect(peak - before).toBeLessThan(40 << 20);
    });

    it('gives up preparing when it is told to', async () => {
      const gone = specOf(newRun(), plan.image);
      await expect(executor.prepare(gone, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
      const stop = new AbortController();
      const preparing = executor.prepare(gone, stop.signal);
      stop.abort(new Error('enough'));
      // Either it was faster, or it left nothing.
      const workspace = await preparing.catch((error: Error) => {
        expect(error.message).toBe('enough');
        return null;
      });
      await workspace?.remove();
      expect(await executor.adopt(gone, workspace?.handle ?? '')).toBeNull();
    });

    it('leaves nothing behind: background processes end with the run', async () => {
      const workspace = await prepare();
      const mark = `sleep 98${process.pid}${counter}`;
      const { end } = await runStep(workspace, 0, `${mark} &`, `(${mark} &)`, 'echo done');
      expect(end).toEqual({ kind: 'exited', exitCode: 0 });
      const alive = (): boolean => execFileSync('ps', ['-eww', '-o', 'args='], { encoding: 'utf8' }).includes(mark);
      expect(alive()).toBe(true);
      await workspace.remove();
      expect(alive()).toBe(false);
    });

    it('sweeps what no known run owns, and nothing else', async () => {
      const kept = await prepare();
      const specLost = specOf(newRun(), plan.image);
      const lost = await executor.prepare(specLost, never);
      await lost.start(step('sleep 600'), 0);
      await kept.start(step('sleep 0.5', 'echo kept'), 0);
      const keptRun = `c${process.pid}-${counter - 1}`;
      expect(await executor.sweep(new Set([keptRun]))).toEqual([specLost.run]);
      expect(await executor.adopt(specLost, lost.handle)).toBeNull();
      expect(await textOf(kept, 0)).toBe('kept\n');
    });

    it('says how the watchdog freezes it', async () => {
      const workspace = await prepare();
      expect(await workspace.freezer?.()).toMatchObject({ kind: expect.stringMatching(/^(cgroup|pgid)$/) });
    });
  });
}
