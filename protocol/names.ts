/** Everything said between nodes, on one page. Versions are in the names (DESIGN §11). */
export const names = {
  /** Long-lived stream between two members, frames of `Envelope`. */
  meshStream: '/autogit/mesh/1',
  /** One question, one answer: `Ask` and `Answer`. */
  askStream: '/autogit/ask/1',
  /** The only protocol that a stranger may open: frames of `EnrolMessage`. */
  enrolStream: '/autogit/enrol/1',
  /** Gossip of `Report`. */
  reportTopic: (meshId: string): string => `autogit/${meshId}/report/1`,
  /** mDNS tag of every agent, member or not: strangers must find meshes. */
  mdnsTag: '_autogit._udp.local',
} as const;
/**
 * The name of DNS by which a mesh is found on its LAN: of its own name what DNS takes, such as `adas-home.local` of "Ada's home". Null where
 * nothing of it is left.
 */
export function localNameOf(meshName: string): string | null {
  const plain = meshName
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[\u0300-\u036f'\u2019]/g, '');
  const label = plain
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  return label === '' ? null : `${label}.local`;
}
export const defaultPort = 7117;
/** GitLab's webhooks come in there, where a machine's owner opens that door. */
export const webhookPort = 7118;
/** A machine that holds copies of GitLab lets its host in by one of these, the first that is free; all taken: by any. */
export const copyPorts = { first: 7170, last: 7179 } as const;
/** Each agent's page for people; where that is taken (another agent, a door for webhooks), one of the next ones. */
export const pagePort = { first: 7118, tries: 20 } as const;
