import type { Answer, Ask } from '../../protocol/asks.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { addressAtFirst, hostedUrl, whyNotAbove, whyNotDeploy } from '../../scheduler/hosting/hosted-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { shown } from '../foreign-text.ts';
import { checkOf, refusalCheck } from '../hosting/deploy-check.ts';
import type { DeployRequest, RegainPlan, RegainRequest } from '../local-api/socket-protocol.ts';
import { askMember } from './asked-member.ts';
import type { OtherMesh } from './other-meshes.ts';

interface RegainLines {
  self: NodeId;
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  nodeNamed(name: string): NodeId;
  /** Meshes of this LAN that are not ours, as this machine sees them. */
  others(): readonly OtherMesh[];
}

/** `above`: the highest epoch that anything on that place names. */
type Deploying = (wish: DeployRequest, above: number) => Promise<ChangeOutcome>;

/** It mounts an image, which may have a log to play, and asks an engine and a registry. */
const checkMs = 55_000;

/** What a person asks of GitLab's data that a mesh left which is gone: that they are this mesh's, and GitLab runs on them. */
export class RegainRequests {
  readonly #lines: RegainLines;
  readonly #deploy: Deploying;

  constructor(lines: RegainLines, deploy: Deploying) {
    this.#lines = lines;
    this.#deploy = deploy;
  }

  /** Changes nothing. `isPlace` false: nothing there is a mesh's, and it is another matter. */
  async plan({ on, ...wish }: RegainRequest): Promise<RegainPlan> {
    const ledger = this.#lines.ledger();
    const node = on === null ? this.#lines.self : this.#lines.nodeNamed(on);
    const host = nodeName(ledger, node);
    const none: RegainPlan = { host, isPlace: false, found: null, url: null, lines: [] };
    // An earlier one knows containers alone.
    if (!ledger.nodes[node]?.can?.includes('adopt-data')) return none;
    const answer = await this.#ask(node, { kind: 'check-left', wish });
    if (answer.kind !== 'left-checked')
      throw new AutogitError('bad-message', `${host} answered with ${answer.kind} to what it was asked`);
    const { isPlace, checks, found, address, ipv6 } = answer;
    if (!isPlace || found === null) return { ...none, isPlace, lines: checks };
    const isOwn = found.mesh === ledger.mesh.id;
    const refused = whyNotDeploy(ledger, node) ?? whyNotAbove(ledger, node);
    return {
      ...{ host, isPlace, found },
      url: hostedUrl({ ...addressAtFirst(ledger, wish, { address, ipv6, isKnown: true }), port: wish.port }),
      lines: [
        ...checks,
        ...(isOwn ? [] : [this.#living(found.mesh)]),
        ...(refused === null ? [] : [refusalCheck(refused)]),
      ],
    };
  }

  /** Looks once more, makes the place this mesh's, and asks the mesh to run GitLab on it. */
  async take(request: RegainRequest): Promise<ChangeOutcome> {
    const { found, lines } = await this.plan(request);
    const failed = lines.find(({ state }) => state === 'fail');
    if (failed || found === null) return { state: 'refused', because: failed?.sentence ?? 'there is no such place' };
    const node = request.on === null ? this.#lines.self : this.#lines.nodeNamed(request.on);
    const { path, mesh, data, epoch, image, what } = found;
    // Copies of this mesh's own too, where its host has gone: a deployment takes up nothing but data.
    if (mesh !== this.#lines.ledger().mesh.id || what === 'copies')
      await this.#ask(node, { kind: 'take-left', path, mesh, data, epoch });
    return this.#deploy({ ...request, image, data: path, copies: [] }, epoch);
  }

  /** By mDNS alone: what is off, or on another LAN, nobody here can see. */
  #living(mesh: string): ReturnType<typeof checkOf> {
    const short = mesh.slice(0, 8);
    const alive = this.#lines.others().find(({ id }) => id === mesh);
    if (alive !== undefined)
      return checkOf(
        'fail',
        'mesh',
        `mesh "${shown(alive.name)}" (id ${short}), whose data these are, lives: ${alive.inSight} of its machines in sight by mDNS, ${shown(alive.member)} among them`,
        'move this machine there: autogit-node leave && autogit-node join --switch',
      );
    return checkOf(
      'warn',
      'mesh',
      `no machine of mesh ${short}, whose data these are, is in sight of ${nodeName(this.#lines.ledger(), this.#lines.self)} by mDNS; one that is off, or on another LAN, is not seen`,
      'where one of it may still run GitLab, take nothing over: two would take pushes',
    );
  }

  #ask = (node: NodeId, ask: Ask): Promise<Answer> => askMember(this.#lines, node, ask, checkMs);
}
