%% The head of a `catch' clause that binds the stacktrace. Nothing here needs
%% it; the original's test suite includes this file and expands the macro.
-define(WITH_STACKTRACE(Class, Reason, Stacktrace),
        Class:Reason:Stacktrace ->).
