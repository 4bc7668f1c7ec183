import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../../node/executors/byte-names.ts';
import { madeEntry, noBody, readTar, type TarEntry, writeTar } from '../../node/executors/tar-format.ts';
import type { Executor, Workspace } from '../../node/ports.ts';
import { tarFolder } from '../../node/runs/tar-folder.ts';
import { executorOf } from './executor-child.ts';
import type { ContractPlan } from './executor-contract.ts';
import { never, runStep, specOf, tarOf } from './executor-steps.ts';

/** Files go into a job and come out of it byte for byte, names and all, in every executor. */
let counter = 0;

export function filesContract(name: string, contract: ContractPlan): void {
  describe(`files of a job: ${name}`, () => {
    let executor: Executor | null = null;
    const scratch = mkdtempSync(join(tmpdir(), 'autogit-files-'));
    afterAll(async () => {
      await executor?.sweep(new Set());
      rmSync(scratch, { recursive: true, force: true });
    });

    const within = async (work: (workspace: Workspace) => Promise<void>): Promise<void> => {
      const plan = contract();
      executor ??= executorOf(plan);
      const workspace = await executor.prepare(specOf(`f${process.pid}-${++counter}`, plan.image), never);
      try {
        await work(workspace);
      } finally {
        await workspace.remove();
      }
    };

    it('a source that breaks between two files is never a shorter tree, and its cause is said', () =>
      within(async (workspace) => {
        async function* broken(): AsyncGenerator<TarEntry> {
          yield madeEntry('first', { content: '1' });
          throw new Error('the disk said no');
        }
        await expect(workspace.putTar('.', Readable.from(writeTar(broken())))).rejects.toThrow(/the disk said no/);
        await expect(workspace.putTar('.', Readable.from([Buffer.alloc(700, 'x')]))).rejects.toThrow(/files/);
        await workspace.putTar('.', tarOf({ after: 'fine' }));
        expect((await runStep(workspace, 0, 'cat after')).text).toBe('fine');
      }));

    it('sources keep names and link targets of any bytes', () =>
      within(async (workspace) => {
        const folder = join(scratch, `tree-${counter}`);
        mkdirSync(folder);
        const names = ['lat\xe9n', 'back\\slash', 'new\nline', '-dash', `${'n'.repeat(239)}\xff`, 'zz-last'];
        for (const each of names) writeFileSync(Buffer.concat([bytesOf(`${folder}/`), bytesOf(each)]), each, 'latin1');
        symlinkSync(bytesOf('lat\xe9n'), join(folder, 'link'));
        await workspace.putTar('.', tarFolder(folder));
        const { text } = await runStep(
          workspace,
          0,
          'cat zz-last "$(printf "lat\\351n")" link; echo; set -- *; echo $#; stat -c %a -- -dash',
        );
        expect(Buffer.from(text.slice(0, 7))).toEqual(Buffer.from('zz-last'));
        expect(text.split('\n').slice(1)).toEqual(['7', '644', '']);
        const found = new Map<string, string>();
        for await (const entry of readTar((await workspace.getTar('.')) as Readable)) {
          let body = entry.linkname;
          for await (const chunk of entry.kind === 'file' ? entry.body : noBody)
            body += Buffer.from(chunk).toString('latin1');
          found.set(entry.name, body);
        }
        expect([...found].sort()).toEqual([...names.map((each) => [each, each]), ['link', 'lat\xe9n']].sort());
      }));
  });
}
