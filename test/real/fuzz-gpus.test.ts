import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { nvidiaSamples, parseGpuQuery } from '../../node/machine/gpu-nvidia.ts';
import { ownersUse } from '../../node/machine/gpu-owner.ts';
import { createMachine } from '../../node/machine/machine.ts';
import { Gpu, Measured, Room } from '../../protocol/report.ts';
import { roomOf } from '../../scheduler/jobs/room.ts';
import type { Chance } from '../sim/chance.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';

/** What `nvidia-smi` prints is a driver's, of any version and in any state: never a throw, never a report that others refuse. */
const fixtures = fileURLToPath(new URL('../fixtures/gpu/nvidia', import.meta.url));
const texts = readdirSync(fixtures).map((name) => readFileSync(join(fixtures, name), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'autogit-gpus-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cells = [
  '[N/A]',
  '[Unknown Error]',
  'ERR!',
  '',
  '-',
  '-1',
  '0',
  '1e9',
  '999999999999',
  '0.000001',
  '101',
  'Enabled',
];
const odd = [
  ...cells,
  'NaN',
  '5 MiB',
  '__proto__',
  'GPU-',
  '\u0000',
  '\u001b[2J',
  'é',
  'x'.repeat(3000),
  ' , , ',
  'C+G',
];

/** A table of the driver with some of it changed: cells, lines, bytes, ends of lines. */
function changed(chance: Chance): string {
  let lines = chance.pick(texts).split('\n');
  if (chance.maybe(0.2)) lines = [...lines, ...chance.pick(texts).split('\n')];
  if (chance.maybe(0.1)) lines = Array.from({ length: 60 }, () => chance.pick(lines));
  lines = lines.flatMap((line) => {
    if (chance.maybe(0.1)) return [];
    const isTable = line.includes(',');
    const parts = isTable ? line.split(', ') : line.split(/(\s+)/);
    const at = chance.below(parts.length);
    if (chance.maybe(0.5)) parts[at] = chance.pick(odd);
    if (chance.maybe(0.1)) parts.splice(at, 1);
    const text = parts.join(isTable ? ', ' : '');
    return chance.maybe(0.1) ? [text, text] : [text];
  });
  const text = lines.join(chance.maybe(0.2) ? '\r\n' : '\n');
  return chance.maybe(0.1) ? text.slice(0, chance.below(text.length + 1)) : text;
}

describe('fuzz', () => {
  it(
    'nvidia-smi tables: cards of known form, or a problem in words',
    async () => {
      let cards = 0;
      let problems = 0;
      await fuzzRounds('nvidia-smi tables', 5, (chance) => {
        const query = parseGpuQuery(changed(chance));
        problems += query.problems.length;
        const told = (): string | null => (chance.maybe(0.2) ? null : changed(chance));
        const answers = { apps: told(), pmon: told(), list: changed(chance), systemMemoryBytes: 2 ** 34 };
        for (const sample of nvidiaSamples(query.rows, answers)) {
          cards++;
          Gpu.parse(sample.gpu);
          for (const value of [sample.usedBytes, sample.busyPercent])
            expect(value === null || (Number.isFinite(value) && value >= 0)).toBe(true);
          const use = ownersUse(sample, { pids: new Set([1840]), parentOf: (pid) => (pid > 1 ? pid - 1 : null) });
          expect((use?.name ?? '').length).toBeLessThanOrEqual(64);
        }
      });
      expect(cards).toBeGreaterThanOrEqual(least(100));
      expect(problems).toBeGreaterThanOrEqual(least(100));
    },
    fuzzTimeoutMs(5),
  );

  it(
    'nvidia-smi as a program: what the machine reports of it is taken by every other node',
    async () => {
      const smi = join(folder, 'nvidia-smi');
      const parts = ['query', 'apps', 'pmon', 'list'];
      writeFileSync(
        smi,
        `#!/bin/sh
case "$1" in --query-gpu=*) part=query ;; --query-compute-apps=*) part=apps ;; pmon) part=pmon ;; -L) part=list ;; esac
read -r code < '${folder}'/$part.code
exec < '${folder}'/$part
while IFS= read -r line; do printf '%s\\n' "$line"; done
exit $code
`,
      );
      chmodSync(smi, 0o755);
      let cards = 0;
      await fuzzRounds('nvidia-smi as a program', 6, async (chance) => {
        let bootMs = 0;
        const clock = { bootMs: () => bootMs, bootId: () => 'b', wallMs: () => 0 };
        const machine = createMachine({
          folder,
          labels: [],
          executors: [],
          maxRuns: null,
          reserveMemoryBytes: 0,
          playGpus: [],
          nvidiaSmi: smi,
          sysfs: { sys: join(folder, 'none'), amdgpuIds: '', pciIds: [] },
          sessions: join(folder, 'none'),
          clock: clock as never,
        });
        for (const part of parts) {
          writeFileSync(join(folder, part), `${changed(chance)}\n`);
          writeFileSync(join(folder, `${part}.code`), chance.maybe(0.2) ? '3\n' : '0\n');
        }
        // Looked at again, and what is remembered of before is told with it.
        for (let look = 0; look < 2; look++) {
          bootMs += 400_000;
          await machine.measure();
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        const measured = await machine.measure();
        cards += measured.gpus.length;
        Measured.parse(measured);
        expect(new Set(measured.gpus.map(({ uuid }) => uuid)).size).toBe(measured.gpus.length);
        Room.parse(roomOf(measured, [], null));
        expect(Buffer.byteLength(JSON.stringify(measured))).toBeLessThan(48 << 10);
      });
      expect(cards).toBeGreaterThanOrEqual(least(20));
    },
    fuzzTimeoutMs(6),
  );
});
