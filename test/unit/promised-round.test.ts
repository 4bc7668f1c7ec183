import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { promisedRound } from '../../node/hosting/move/promised-round.ts';
import type { TargetFitness } from '../../node/hosting/move/target-fitness.ts';
import { PromiseFile, rulesOf } from '../../node/hosting/replica/promise-file.ts';
import { promiseOf } from '../../node/hosting/replica/round-promise.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { at, data, mesh } from './takeover-lab.ts';

const round = { era: 0, epoch: 4, number: 12 };
const place = { kind: 'image', path: '/var/lib/copies' } as const;
const fit = {
  isAllowed: true,
  promise: async () => ({ round, takenAt: 5, place }),
  host: { check: async () => ({ arch: 'amd64' }) },
  fitness: async () => ({ never: null, rather: null }) as TargetFitness,
  at: () => ({ hostname: '10.0.0.2' }),
};

describe('what a machine tells a leader that asks with which round GitLab could go on there (SAFETY H10)', () => {
  it('is its newest round, with where it would lie and how it is reached', async () => {
    expect(await promisedRound(fit)).toEqual({
      ...{ round, takenAt: 5, because: null },
      there: { place, hostname: '10.0.0.2' },
    });
  });

  it('says what would rather have another machine named', async () => {
    const rather = "GitLab's image has to be pulled first";
    expect(await promisedRound({ ...fit, fitness: async () => ({ never: null, rather }) })).toMatchObject({
      round,
      rather,
    });
  });

  it('is nothing, in words, where its owner refuses, its engine is away or silent, or it holds none; then nothing is promised either', async () => {
    let promised = 0;
    const promise = async () => {
      promised += 1;
      return fit.promise();
    };
    const told = async (over: object) => {
      const { because, ...rest } = await promisedRound({ ...fit, promise, ...over });
      expect(rest).toEqual({ round: null, takenAt: null, there: null });
      return because;
    };
    expect(await told({ isAllowed: false })).toContain("its owner's settings");
    expect(await told({ host: { check: () => Promise.reject(new Error('no socket')) } })).toContain('no socket');
    expect(await told({ host: { check: () => new Promise(() => {}) } })).toContain('no answer within 1.5 s');
    const taken = async () => ({ never: 'port 8080 is taken by nginx', rather: null });
    expect(await told({ fitness: taken })).toBe('port 8080 is taken by nginx');
    expect(promised).toBe(0);
    expect(await told({ promise: async () => ({ because: 'its disk is full' }) })).toBe('its disk is full');
  });
});

describe('what was told stays on this disk (SAFETY H10)', () => {
  it('also where its agent ends, and the next one thins before it is asked anew', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'autogit-promise-'));
    const file = (): PromiseFile => new PromiseFile(join(folder, 'promised.json'), systemTools);
    const rounds = () => [at(30), at(29)].map((name) => ({ name, uuid: `u${name.number}`, wallMs: 5, parent: null }));
    const open = (promised: Pick<PromiseFile, 'keep'>) => ({
      place,
      parts: { hot: { rounds } as never },
      rules: rulesOf({ read: () => null }),
      promised,
    });
    const ledger = mesh();
    const asked = { data, epoch: 4, ledger, mine: hostingOf(ledger), problem: null };
    expect(await promiseOf({ ...asked, open: open(file()) })).toMatchObject({ round: at(30) });
    // Newer rounds come, as its host is back; the leader's word with the old one may be on its way still.
    const held = [{ name: at(99), parent: null }];
    expect(rulesOf(file()).hot.pins(held, null, 4)).toEqual([at(30)]);
    expect(rulesOf(file()).hot.pins(held, null, 5)).toEqual([]);
    const full = { keep: () => Promise.reject(new Error('ENOSPC')) };
    expect(await promiseOf({ ...asked, open: open(full) })).toEqual({
      because: 'it cannot write down what it would promise: ENOSPC',
    });
    writeFileSync(join(folder, 'promised.json'), '{"epoch":4,"name":');
    expect(rulesOf(file()).hot.pins(held, null, 4)).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});
