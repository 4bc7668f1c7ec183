/** How the end of a connection may surface where nobody can catch it (js-libp2p issue 3415). */
export const connectionErrors = new Set([
  'StreamStateError',
  'StreamResetError',
  'StreamClosedError',
  'ConnectionClosedError',
  'MuxerClosedError',
]);
