// @ts-check

/** The call could not do its work; nothing of it is applied. Thrown. */
export class Failure extends Error {
  /**
   * @param {'retry' | 'fatal'} kind what the host does about it
   * @param {string} message what went wrong, for the operator
   */
  constructor(kind, message) {
    super(message);
    this.name = 'Failure';
    this.kind = kind;
  }
}

/** Something is not available: the same events come again later. */
export class Retry extends Failure {
  /** @param {string} message */
  constructor(message) {
    super('retry', message);
  }
}

/** Stops the pipeline, which shows the message; in a constructor: the configuration does not fit. */
export class Fatal extends Failure {
  /** @param {string} message */
  constructor(message) {
    super('fatal', message);
  }
}

/**
 * Takes one event out of the stream: thrown by `processEvent` and `formatEvent`, or in the place of a body in what
 * `format` answers. The stage's `on_error` decides what becomes of the event.
 */
export class Reject extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.name = 'Reject';
  }
}
