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
export const defaultPort = 7117;
/** A machine that holds copies of GitLab lets its host in by one of these, the first that is free; all taken: by any. */
export const copyPorts = { first: 7170, last: 7179 } as const;
