import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostingState } from '../../scheduler/hosting/hosting-state.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { nameDuty } from '../../scheduler/hosting/name-duty.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const { leaseMs, waitMs } = hostingTimings;
const at = 100_000;
const hosted = hostedGitlab();
const founded = foundedMesh();
const committed: Ledger = { ...founded, gitlab: { ...founded.gitlab, mode: 'hosted', host: 'D', epoch: 3, hosted } };
const lease = { epoch: 3, data: hosted.data, until: at + 1 };
const lead = { term: 1, since: at - waitMs, givenAt: Number.NEGATIVE_INFINITY, asks: [] };
const duty = (state: Partial<HostingState>, more: { committed?: Ledger; contactAt?: number } = {}) =>
  nameDuty({ lease: null, lead: null, ...state }, { committed, contactAt: at, at, ...more });

describe('who answers to the name of the mesh`s GitLab', () => {
  it('the host until the millisecond in which its lease ends, of this epoch and these data', () => {
    expect(duty({ lease })).toBe('host');
    expect(duty({ lease: { ...lease, until: at } })).toBeNull();
    expect(duty({ lease: { ...lease, epoch: 2 } })).toBeNull();
    expect(duty({ lease: { ...lease, data: 'other' } })).toBeNull();
  });

  it('the leader once no lease can be in force, and while it has a quorum', () => {
    expect(duty({ lead })).toBe('leader');
    expect(duty({ lead: { ...lead, since: at - waitMs + 1 } })).toBeNull();
    expect(duty({ lead: { ...lead, givenAt: at - waitMs + 1 } })).toBeNull();
    expect(duty({ lead }, { contactAt: at - leaseMs - 1 })).toBeNull();
  });

  it('nobody else, and nobody where the mesh hosts none', () => {
    expect(duty({})).toBeNull();
    expect(duty({ lease, lead }, { committed: founded })).toBeNull();
  });
});
