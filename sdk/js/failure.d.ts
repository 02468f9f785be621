/** The call could not do its work; nothing of it is applied. Thrown. */
export declare class Failure extends Error {
    kind: "fatal" | "retry";
    /**
     * @param {'retry' | 'fatal'} kind what the host does about it
     * @param {string} message what went wrong, for the operator
     */
    constructor(kind: 'retry' | 'fatal', message: string);
}
/** Something is not available: the same events come again later. */
export declare class Retry extends Failure {
    /** @param {string} message */
    constructor(message: string);
}
/** Stops the pipeline, which shows the message; in a constructor: the configuration does not fit. */
export declare class Fatal extends Failure {
    /** @param {string} message */
    constructor(message: string);
}
/**
 * Takes one event out of the stream: thrown by `processEvent` and `formatEvent`, or in the place of a body in what
 * `format` answers. The stage's `on_error` decides what becomes of the event.
 */
export declare class Reject extends Error {
    /** @param {string} reason */
    constructor(reason: string);
}
