import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import type { StepEnd, Workspace } from '../../node/ports.ts';
import { never, runStep, specOf } from '../contract/executor-steps.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-executor-end-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const executor = new ProcessExecutor({ home });
let count = 0;

async function stepOf(
  script: string[],
  also: (workspace: Workspace, text: string) => void = () => {},
): Promise<{ text: string; end: StepEnd; tookMs: number }> {
  const workspace = await executor.prepare(specOf(`end-${++count}`, null), never);
  try {
    const begun = performance.now();
    const done = await runStep(workspace, 0, ...script);
    also(workspace, done.text);
    return { ...done, tookMs: performance.now() - begun };
  } finally {
    await workspace.remove();
  }
}

describe('the end of a step of the process executor', () => {
  it('waits for what a filter still holds when the shell ends (official-runner F12)', async () => {
    const slow = '(while read -r line; do sleep 0.1; echo "$line"; done; sleep 0.3; echo last)';
    const { text, end } = await stepOf([`exec > >(${slow}) 2>&1`, 'echo one; echo two']);
    expect(text).toBe('one\ntwo\nlast\n');
    expect(end).toEqual({ kind: 'exited', exitCode: 0 });
  });

  it('waits at most 5 s: a daemon of the job may hold its output for ever', async () => {
    const { text, end, tookMs } = await stepOf(['(sleep 60 | cat) &', 'echo done; exit 3']);
    expect(text).toBe('done\n');
    expect(end).toEqual({ kind: 'exited', exitCode: 3 });
    expect(tookMs).toBeGreaterThan(4500);
    expect(tookMs).toBeLessThan(9000);
  }, 15_000);

  it('does not wait for what holds the output and reads no pipe', async () => {
    const { text, end, tookMs } = await stepOf(['sleep 60 &', 'echo done; exit 3']);
    expect([text, end]).toEqual(['done\n', { kind: 'exited', exitCode: 3 }]);
    expect(tookMs).toBeLessThan(4500);
  });

  it('keeps no more output on disk than a trace can show, and the job goes on (security A12)', async () => {
    const { text, end } = await stepOf(['head -c 40000000 /dev/zero', 'exit 4'], (workspace) => {
      expect(statSync(join(workspace.handle, 'step-0.out')).size).toBeLessThanOrEqual(5 << 20);
    });
    expect(text.length).toBeGreaterThan(4 << 20);
    expect(end).toEqual({ kind: 'exited', exitCode: 4 });
  });
});
